//! The hash chain without a store: the encoding of a record, and its hash.
//!
//! The hash of a record is the SHA-256 of the previous hash and of the record's compact JSON. A change
//! of one record therefore changes every later hash.

use std::fmt::Write as _;

use greenroom_protocol as protocol;
use protocol::audit::{Event, RecordRef, Restored};
use protocol::{ContentHash, PodId, RequestId, TenantId, Timestamp, WrittenVersion};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// Bytes of a record around its event: the member names, a number, a hash and a time.
const ENTRY_OVERHEAD_BYTES: usize = 160;

/// The first bytes of the event that names a break.
const RESTORED_PREFIX: &str = "{\"kind\":\"restored\"";

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

    /// The last record; zero before the first.
    #[must_use]
    pub const fn as_record(&self) -> RecordRef {
        RecordRef { number: self.number, hash: self.hash }
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

/// What the chain itself needs of a record. A record of another release, with members and codes that this one
/// does not know, has it too.
#[derive(Debug, Deserialize)]
pub(crate) struct RecordLink<'r> {
    pub(crate) number: u64,
    pub(crate) previous: ContentHash,
    pub(crate) at: Timestamp,
    #[serde(borrow)]
    event: &'r RawValue,
}

/// What the recovery of a chain needs of an event.
#[derive(Debug, Deserialize)]
pub(crate) struct EventLink {
    /// The kind of the event, as it is written.
    pub(crate) kind: String,
    /// The record that opened the entry which the event ends.
    #[serde(default)]
    pub(crate) opened: Option<u64>,
    /// The request, the tenant and the pod of an entry that the event opens.
    #[serde(default)]
    pub(crate) request: Option<RequestId>,
    #[serde(default)]
    pub(crate) tenant: Option<TenantId>,
    #[serde(default)]
    pub(crate) pod: Option<PodId>,
}

impl<'r> RecordLink<'r> {
    /// Reads a stored record.
    ///
    /// # Errors
    /// Those of the parser, if it is none.
    pub(crate) fn parse(record: &'r str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(record)
    }

    /// Reads what the recovery needs of its event.
    ///
    /// # Errors
    /// Those of the parser.
    pub(crate) fn event(&self) -> Result<EventLink, serde_json::Error> {
        serde_json::from_str(self.event.get())
    }

    /// The break of the chain that the record names; `None` for any other record.
    pub(crate) fn restored(&self) -> Option<Restored> {
        // The kind is the first member, and parsing every event would double the time of a verification.
        if !self.event.get().starts_with(RESTORED_PREFIX) {
            return None;
        }
        match serde_json::from_str(self.event.get()) {
            Ok(Event::Restored(restored)) => Some(restored),
            Ok(_) | Err(_) => None,
        }
    }
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

    /// The JSON.
    pub(crate) fn into_text(self) -> String {
        self.0
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
    let _ = write!(record, r#"{{"number":{number},"previous":"{previous}","at":"{at}","event":{event}"#);
    if !WrittenVersion::OWN.is_first() {
        let _ = write!(record, r#","protocol_version":{}"#, WrittenVersion::OWN.0);
    }
    record.push('}');
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
        let record = Record { number: 1, previous, at, event, protocol_version: WrittenVersion::OWN };
        assert_eq!(row.record, serde_json::to_string(&record).unwrap());
        assert_eq!(row.hash, hash(&previous, row.record.as_bytes()));
        assert_eq!(tip, ChainTip { number: 1, hash: row.hash });
    }

    #[test]
    fn a_record_of_another_release_is_read_as_far_as_the_chain_needs_it() {
        let record = r#"{"number":7,"previous":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "at":"2025-01-02T03:04:05Z","new_member":1,
            "event":{"kind":"closed","opened":3,"status":"removed_status","code":"removed_code","tokens":"many"}}"#;
        let link = RecordLink::parse(record).unwrap();
        let event = link.event().unwrap();
        assert_eq!((link.number, event.kind.as_str(), event.opened), (7, "closed", Some(3)));
        assert!(serde_json::from_str::<Record>(record).is_ok_and(|record| matches!(record.event, Event::Unknown(_))));
    }
}
