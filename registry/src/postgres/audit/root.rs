//! The root chain: which chains there are, with the certified key of each, their signed heads, and the deaths of pods.
//! All pods append to it, one after the other; the database links its records.

use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;

use crate::audit::chain::ChainTip;
use crate::audit::chain_key::SavedHead;
use crate::audit::head::{HeadKind, SignedHead};
use crate::audit::signer::Signer;
use crate::columns::{Columns as _, to_int};
use crate::error::StoreError;
use crate::postgres::error::sqlx_error;

/// The signed head of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::postgres) struct ChainHead {
    pub(in crate::postgres) chain: u64,
    #[serde(flatten)]
    pub(in crate::postgres) head: SignedHead,
}

/// The last record of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::postgres) struct ChainEnd {
    pub(in crate::postgres) chain: u64,
    pub(in crate::postgres) number: u64,
}

/// An event of the root chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(in crate::postgres) enum RootEvent {
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
    /// An event of another release.
    #[serde(other)]
    Unknown,
}

/// The events that register the chains of a pod.
pub(in crate::postgres) fn registrations(
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

#[derive(Deserialize)]
struct Appended {
    state: String,
    number: Option<u64>,
    hash: Option<ContentHash>,
}

/// Appends events, and returns the tip of the root chain.
pub(in crate::postgres) async fn append(
    connection: &mut PgConnection,
    pod: i64,
    at: Timestamp,
    events: &[RootEvent],
) -> Result<ChainTip, StoreError> {
    let texts = events.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    let result: String = sqlx::query_scalar("SELECT greenroom_root_v1($1, $2, $3, $4)")
        .bind(pod)
        .bind(at.as_micros())
        .bind(at.to_string())
        .bind(texts)
        .fetch_one(connection)
        .await
        .map_err(|error| sqlx_error(&error))?;
    let Appended { state, number, hash } = serde_json::from_str(&result)?;
    match (number, hash) {
        (Some(number), Some(hash)) => Ok(ChainTip { number, hash }),
        _ if state == "dead" => Err(StoreError::PodDead),
        _ => Err(StoreError::Codec("the root chain has no tip".to_owned())),
    }
}

/// Fails if the root chain does not have the record that was signed last on this pod.
pub(in crate::postgres) async fn check_saved(
    connection: &mut PgConnection,
    saved: Option<&SavedHead>,
) -> Result<(), StoreError> {
    let Some(head) = saved.map(|saved| &saved.head).filter(|head| head.number > 0) else { return Ok(()) };
    let row = sqlx::query("SELECT hash FROM audit_root WHERE number = $1")
        .bind(to_int(head.number))
        .fetch_optional(connection)
        .await
        .map_err(|error| sqlx_error(&error))?;
    let number = head.number;
    match row {
        Some(row) if row.hash("hash")? == head.hash => Ok(()),
        Some(_) => Err(StoreError::Chain(format!("record {number} of the root chain was signed, but has changed"))),
        None => Err(StoreError::Chain(format!(
            "record {number} of the root chain was signed, but the database does not have it: it is an older copy, or \
             its end was removed"
        ))),
    }
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
