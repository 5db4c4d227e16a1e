//! The root chain of a database with several chains: which chains there are, with the certified key of each, their
//! signed heads, and the deaths of pods. All pods append to it, one after the other; the database links its records.

use greenroom_protocol as protocol;
use protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::chain::ChainTip;
use crate::audit::head::{HeadKind, SignedHead};
use crate::audit::root_anchor::AnchorPart;
use crate::audit::signer::Signer;

/// The signed head of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChainHead {
    pub(crate) chain: u64,
    #[serde(flatten)]
    pub(crate) head: SignedHead,
}

/// The last record of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChainEnd {
    pub(crate) chain: u64,
    pub(crate) number: u64,
}

/// An event of the root chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum RootEvent {
    /// A chain is registered, before its first record.
    ChainRegistered {
        chain: u64,
        pod: String,
        lane: usize,
        /// The public key of its heads, in hex.
        key: String,
        /// The signature of the certifying key over the database, the chain and the key.
        certificate: String,
    },
    /// Heads of chains: running ones, ends and anchors of prunings.
    Heads { heads: Vec<ChainHead> },
    /// A pod was declared dead; its chains end with these records.
    PodDied { pod: i64, chains: Vec<ChainEnd> },
    /// A part of an anchor, with which a verification can begin: the records before it may be pruned.
    Anchor(AnchorPart),
    /// An event of another release.
    #[serde(other)]
    Unknown,
}

/// The events that register the chains of a pod.
pub(crate) fn registrations(
    signer: &Signer,
    database: &str,
    pod: &str,
    chains: &[u64],
    at: Timestamp,
) -> Vec<RootEvent> {
    let mut events = Vec::new();
    let mut heads = Vec::new();
    for (lane, chain) in chains.iter().copied().enumerate() {
        let own = signer.for_chain(database, chain);
        let key = own.chain_key();
        let certificate = signer.certify(database, chain, key);
        events.push(RootEvent::ChainRegistered { chain, pod: pod.to_owned(), lane, key: key.to_hex(), certificate });
        heads.push(ChainHead { chain, head: own.sign(HeadKind::Running, ChainTip::genesis(), at) });
    }
    events.push(RootEvent::Heads { heads });
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_back_and_those_of_another_release_are_unknown() {
        let (signer, at) = (Signer::ephemeral([7; 32]), Timestamp::from_micros(5));
        let mut events = registrations(&signer, "d", "pod_1", &[3, 4], at);
        events.push(RootEvent::PodDied { pod: 1, chains: vec![ChainEnd { chain: 3, number: 9 }] });
        assert_eq!(events.len(), 4);
        for event in events {
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<RootEvent>(&text).unwrap(), event, "{text}");
        }
        let later = serde_json::from_str::<RootEvent>(r#"{"kind":"later","member":1}"#);
        assert_eq!(later.unwrap(), RootEvent::Unknown);
    }
}
