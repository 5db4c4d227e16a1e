//! A signed statement about the chain: "record N has this hash". Nobody without the key can make
//! one for a chain that was cut or rewritten.

use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};
use serde::{Deserialize, Serialize};

use crate::audit::chain::ChainTip;

/// What the statement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// The chain had at least this record while the process ran.
    Running,
    /// The chain ended here when the process ended; nothing may follow until the next start.
    Closed,
    /// Everything up to this record was pruned; the chain begins behind it.
    Anchor,
}

impl HeadKind {
    /// The kind as it is kept.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Closed => "sealed",
            Self::Anchor => "anchor",
        }
    }
}

/// A signed statement about one record of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// What the statement is about.
    pub kind: HeadKind,
    /// The record's number; zero for an empty chain.
    pub number: u64,
    /// Its hash.
    pub hash: ContentHash,
    /// When it was signed.
    pub at: Timestamp,
    /// The Ed25519 signature, 128 hex digits.
    pub signature: String,
}

impl SignedHead {
    /// The end that is stated.
    #[must_use]
    pub const fn tip(&self) -> ChainTip {
        ChainTip { number: self.number, hash: self.hash }
    }

    /// True if the key's owner made this statement.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        let mut bytes = [0_u8; Signature::BYTE_SIZE];
        hex::decode_to_slice(&self.signature, &mut bytes).is_ok()
            && key.verify(&message(self.kind, self.tip(), self.at), &Signature::from_bytes(&bytes)).is_ok()
    }
}

/// The bytes that are signed. The first line keeps them apart from anything else the key may sign.
pub(super) fn message(kind: HeadKind, link: ChainTip, at: Timestamp) -> Vec<u8> {
    let text =
        format!("greenroom audit head 1\n{}\n{}\n{}\n{}\n", kind.as_str(), link.number, link.hash, at.as_micros());
    text.into_bytes()
}
