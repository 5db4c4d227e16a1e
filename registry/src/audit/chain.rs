//! The chain itself, without a store: how a record is written, and what its hash is.
//!
//! A record's hash is the SHA-256 of the hash before it and of the record's compact JSON, so nobody
//! can change one record without changing every hash behind it.

use std::fmt::Write as _;

use greenroom_protocol as protocol;
use protocol::audit::Event;
use protocol::{ContentHash, Timestamp};
use sha2::{Digest, Sha256};

/// Room for what a record has around its event: two names, a number, a hash and a time.
const ENTRY_OVERHEAD_BYTES: usize = 160;

/// The end of a chain: the number of its last record, and that record's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainTip {
    /// The number of the last record; zero before the first.
    pub number: u64,
    /// Its hash; of nothing, before the first.
    pub hash: ContentHash,
}

impl ChainTip {
    /// The end of an empty chain.
    #[must_use]
    pub fn genesis() -> Self {
        Self { number: 0, hash: ContentHash::of(b"") }
    }

    /// Writes the next record and moves the end behind it.
    #[must_use]
    pub fn append(&mut self, at: Timestamp, event: &EventJson) -> ChainRow {
        let number = self.number.saturating_add(1);
        let record = encode(number, &self.hash, at, event);
        let hash = hash(&self.hash, record.as_bytes());
        *self = Self { number, hash };
        ChainRow { number, hash, record }
    }
}

/// A record as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRow {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: ContentHash,
    /// The compact JSON of the record: the bytes that are hashed.
    pub record: String,
}

/// An event as compact JSON, made where the caller runs, so that the one writer has less to do.
#[derive(Debug, Clone)]
pub struct EventJson(String);

impl EventJson {
    /// Writes an event.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn from_event(event: &Event) -> Result<Self, serde_json::Error> {
        serde_json::to_string(event).map(Self)
    }
}

/// The hash of a record's bytes behind the hash before it.
#[must_use]
pub fn hash(previous: &ContentHash, record: &[u8]) -> ContentHash {
    let mut digest = Sha256::new();
    digest.update(previous.as_bytes());
    digest.update(record);
    ContentHash::from_digest(digest.finalize().into())
}

/// The compact JSON of [`protocol::audit::Record`], byte by byte what its serialiser would write.
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
    fn a_record_is_written_as_its_serialiser_would() {
        let event = Event::System { subject: "policy".into(), message: "a \"new\" one\n".into() };
        let at = Timestamp::from_micros(1_700_000_000_123_456);
        let mut link = ChainTip::genesis();
        let previous = link.hash;
        let row = link.append(at, &EventJson::from_event(&event).unwrap());
        let record = Record { number: 1, previous, at, event };
        assert_eq!(row.record, serde_json::to_string(&record).unwrap());
        assert_eq!(row.hash, hash(&previous, row.record.as_bytes()));
        assert_eq!(link, ChainTip { number: 1, hash: row.hash });
    }
}
