//! A signed head: the statement "record N has this hash". Without the key it cannot be made for a chain
//! that was truncated or rewritten.

use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use greenroom_protocol as protocol;
use protocol::audit::RecordRef;
use protocol::{ContentHash, Timestamp};
use serde::{Deserialize, Serialize};

use crate::audit::chain::ChainTip;

/// One signed head is kept for each interval of this length, an hour.
const HEAD_INTERVAL_MICROS: i64 = 60 * 60 * 1_000_000;

/// The meaning of a signed head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// The chain had at least this record while the process was running.
    Running,
    /// The chain ended with this record when the process ended. No record may follow until the next
    /// start.
    Closed,
    /// The records up to this one were pruned; the chain starts after it.
    Anchor,
    /// This record names a break: a backup has replaced the chain that ended with the record in `replaced`.
    Break,
}

impl HeadKind {
    /// The kind as it is signed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Closed => "closed",
            Self::Anchor => "anchor",
            Self::Break => "break",
        }
    }
}

/// A signed statement about one record of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// The meaning of a signed head.
    pub kind: HeadKind,
    /// The record's number; zero for an empty chain.
    pub number: u64,
    /// Its hash.
    pub hash: ContentHash,
    /// When it was signed.
    pub at: Timestamp,
    /// The last record of the chain that a break has replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<RecordRef>,
    /// The Ed25519 signature, 128 hex digits.
    pub signature: String,
}

impl SignedHead {
    /// The tip that the statement names.
    #[must_use]
    pub const fn tip(&self) -> ChainTip {
        ChainTip { number: self.number, hash: self.hash }
    }

    /// True if a later head makes this one superfluous: it covers the same records. One head an hour is kept, which
    /// bounds how far back the start of a rewriting is searched for.
    pub(crate) fn is_covered_by(&self, later: &Self) -> bool {
        let hour = |head: &Self| head.at.as_micros().div_euclid(HEAD_INTERVAL_MICROS);
        self.kind == HeadKind::Running && self.number < later.number && hour(self) == hour(later)
    }

    /// True if the signature is valid for this key.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        let mut bytes = [0_u8; Signature::BYTE_SIZE];
        let message = message(self.kind, self.tip(), self.at, self.replaced);
        hex::decode_to_slice(&self.signature, &mut bytes).is_ok()
            && key.verify(&message, &Signature::from_bytes(&bytes)).is_ok()
    }

    /// True if one of these heads is a break that has replaced the chain of this head. A head that is saved outside
    /// the database is then older than the database, if the process ended while it restored a backup.
    #[must_use]
    pub fn is_replaced_by(&self, heads: &[Self], key: &VerifyingKey) -> bool {
        let tip = RecordRef { number: self.number, hash: self.hash };
        heads.iter().any(|head| head.kind == HeadKind::Break && head.replaced == Some(tip) && head.is_signed_by(key))
    }
}

/// Returns the bytes that are signed. The first line separates them from anything else that the key
/// may sign.
pub(super) fn message(kind: HeadKind, tip: ChainTip, at: Timestamp, replaced: Option<RecordRef>) -> Vec<u8> {
    let mut text =
        format!("greenroom audit head 1\n{}\n{}\n{}\n{}\n", kind.as_str(), tip.number, tip.hash, at.as_micros());
    if let Some(RecordRef { number, hash }) = replaced {
        text.push_str(&format!("replaced {number} {hash}\n"));
    }
    text.into_bytes()
}
