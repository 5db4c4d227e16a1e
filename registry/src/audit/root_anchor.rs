//! The anchors of the root chain: signed records that have what a verification needs of all records before them, so that
//! those can be removed. An anchor has several parts, one record after the other, so that each of them is a message that
//! the copy in JetStream can store.

use greenroom_protocol::ContentHash;
use serde::{Deserialize, Serialize};

use crate::audit::ChainKey;
use crate::audit::chain::ChainTip;
use crate::audit::head::SignedHead;
use crate::audit::signer::Signer;

/// Chains of one part: some 60 KiB.
const PART_CHAINS_MAX: usize = 64;

/// A chain as an anchor has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnchoredChain {
    pub(crate) chain: u64,
    /// The public key of its heads, in hex. The signature of the anchor certifies it.
    pub(crate) key: String,
    /// Its newest head, and the newest anchor that stands for records of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) newest: Option<SignedHead>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) anchor: Option<SignedHead>,
    /// Its last record, if its pod was declared dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<u64>,
}

/// One part of an anchor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnchorPart {
    /// Its number, from 0. It is the first member of the record after the kind, by which the database finds the first parts.
    pub(crate) part: u64,
    /// How many parts the anchor has.
    pub(crate) parts: u64,
    /// The record before the first part, and its hash.
    pub(crate) number: u64,
    pub(crate) hash: ContentHash,
    /// The [`AnchoredChain`]s of this part as JSON: the text that is signed, whatever a later release adds to it.
    pub(crate) chains: String,
    pub(crate) signature: String,
}

impl AnchorPart {
    /// The last record before the anchor.
    pub(crate) const fn base(&self) -> ChainTip {
        ChainTip { number: self.number, hash: self.hash }
    }

    /// True if this key has signed the part for this database.
    pub(crate) fn is_signed_by(&self, key: &ChainKey, database: &str) -> bool {
        key.has_signed(&self.message(database), &self.signature)
    }

    /// Its chains; `None` if they cannot be read.
    pub(crate) fn read_chains(&self) -> Option<Vec<AnchoredChain>> {
        serde_json::from_str(&self.chains).ok()
    }

    /// The bytes that are signed. The first line separates them from anything else that the key may sign.
    fn message(&self, database: &str) -> Vec<u8> {
        let Self { part, parts, number, hash, chains, signature: _ } = self;
        let chains = ContentHash::from_content(chains.as_bytes());
        format!("greenroom audit root anchor 1\n{database}\n{part} {parts}\n{number} {hash}\n{chains}\n").into_bytes()
    }
}

/// The parts of an anchor that stands for all records through `base`.
pub(crate) fn anchor(
    signer: &Signer,
    database: &str,
    base: ChainTip,
    chains: &[AnchoredChain],
) -> Result<Vec<AnchorPart>, serde_json::Error> {
    // An anchor of no chains has a part too.
    let pieces: Vec<&[AnchoredChain]> =
        if chains.is_empty() { vec![chains] } else { chains.chunks(PART_CHAINS_MAX).collect() };
    let parts = pieces.len() as u64;
    let sign = |(part, piece): (u64, &[AnchoredChain])| {
        let chains = serde_json::to_string(piece)?;
        let ChainTip { number, hash } = base;
        let mut unsigned = AnchorPart { part, parts, number, hash, chains, signature: String::new() };
        unsigned.signature = signer.sign_anchor(&unsigned.message(database));
        Ok::<_, serde_json::Error>(unsigned)
    };
    (0..parts).zip(pieces).map(sign).collect()
}

#[cfg(test)]
mod tests;
