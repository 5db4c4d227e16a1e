//! The hash chain without a store: the encoding of a record, and its hash.
//!
//! The hash of a record is the SHA-256 of the previous hash and of the record's compact JSON. A change
//! of one record therefore changes every later hash.

use std::fmt::Write as _;

use greenroom_protocol as protocol;
use protocol::audit::Event;
use protocol::{ContentHash, Timestamp};
use sha2::{Digest, Sha256};

/// Bytes of a record around its event: the member names, a number, a hash and a time.
const ENTRY_OVERHEAD_BYTES: usize = 160;

/// The tip of a chain: the number and the hash of its last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainTip {
    /// The number of the last record; zero before the first.
    pub number: u64,
    /// Its hash; before the first record, the hash of no bytes.
    pub hash: ContentHash,
}

impl ChainTip {
    /// The tip of an empty chain.
    #[must_use]
    pub fn genesis() -> Self {
        Self { number: 0, hash: ContentHash::from_content(b"") }
    }

    /// Appends the next record and moves the tip to it.
    #[must_use]
    pub fn append(&mut self, at: Timestamp, event: &EventJson) -> ChainRow {
        let number = self.number.saturating_add(1);
        let record = encode(number, &self.hash, at, event);
        let hash = hash(&self.hash, record.as_bytes());
        *self = Self { number, hash };
        ChainRow { number, hash, record }
    }
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRow {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: ContentHash,
    /// The compact JSON of the record: the bytes that are hashed.
    pub record: String,
}

/// An event as compact JSON. The caller's thread encodes it, so that the one writer has less to do.
#[derive(Debug, Clone)]
pub struct EventJson(String);

impl EventJson {
    /// Encodes an event.
    ///
    /// # Errors
    /// The errors of the serialiser.
    pub fn from_event(event: &Event) -> Result<Self, serde_json::Error> {
        serde_json::to_string(event).map(Self)
    }
}

/// Hashes a record after the previous hash.
#[must_use]
pub fn hash(previous: &ContentHash, record: &[u8]) -> ContentHash {
    let mut digest = Sha256::new();
    digest.update(previous.as_bytes());
    digest.update(record);
    ContentHash::from_digest(digest.finalize().into())
}

/// Encodes a [`protocol::audit::Record`] as compact JSON, byte for byte as its serialiser does.
fn encode(number: u64, previous: &ContentHash, at: Timestamp, event: &EventJson) -> String {
    let EventJson(event) = event;
    let mut record = String::with_capacity(event.len() + ENTRY_OVERHEAD_BYTES);
    // Writing to a string does not fail.
    let _ = write!(record, r#"{{"number":{number},"previous":"{previous}","at":"{at}","event":{event}}}"#);
    record
}

#[cfg(test)]
mod tests {
    use protocol::audit::Record;

    use super::*;

    #[test]
    fn a_record_is_encoded_as_its_serialiser_would() {
        let event = Event::System { subject: "policy".into(), message: "a \"new\" one\n".into() };
        let at = Timestamp::from_micros(1_700_000_000_123_456);
        let mut tip = ChainTip::genesis();
        let previous = tip.hash;
        let row = tip.append(at, &EventJson::from_event(&event).unwrap());
        let record = Record { number: 1, previous, at, event };
        assert_eq!(row.record, serde_json::to_string(&record).unwrap());
        assert_eq!(row.hash, hash(&previous, row.record.as_bytes()));
        assert_eq!(tip, ChainTip { number: 1, hash: row.hash });
    }
}
