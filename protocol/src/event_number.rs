//! The number of an event, by which a watch is resumed: that of its journal entry, and which of the events of the entry it
//! is. It is written `SEQ.N`; `SEQ` alone is the number after all events of the entry.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The position of an event within its run. The fields are in the order by which events are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventNumber {
    seq: u64,
    /// [`ALL_OF_ENTRY`] stands for the end of the entry.
    n: u32,
}

/// No journal entry has as many events.
const ALL_OF_ENTRY: u32 = u32::MAX;

/// The text is not the number of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number of an event is that of its journal entry, such as `7`, or also its index there, such as `7.1`")]
pub struct InvalidEventNumber;

impl EventNumber {
    /// Before the first event of a run.
    pub const START: Self = Self::after_entry(0);

    /// The event with this index, from 0, of the journal entry with this number.
    #[must_use]
    pub const fn new(seq: u64, n: u32) -> Self {
        Self { seq, n }
    }

    /// After all events of the journal entry with this number.
    #[must_use]
    pub const fn after_entry(seq: u64) -> Self {
        Self { seq, n: ALL_OF_ENTRY }
    }

    /// The number of the journal entry.
    #[must_use]
    pub const fn seq(self) -> u64 {
        self.seq
    }

    /// The journal entry after which a reader continues that has the events up to this one. The entry of the event itself is
    /// read again if it may have further events.
    #[must_use]
    pub const fn entry_before(self) -> u64 {
        if self.n == ALL_OF_ENTRY { self.seq } else { self.seq.saturating_sub(1) }
    }
}

impl Default for EventNumber {
    fn default() -> Self {
        Self::START
    }
}

impl fmt::Display for EventNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.n {
            ALL_OF_ENTRY => write!(f, "{}", self.seq),
            n => write!(f, "{}.{n}", self.seq),
        }
    }
}

impl FromStr for EventNumber {
    type Err = InvalidEventNumber;

    fn from_str(text: &str) -> Result<Self, InvalidEventNumber> {
        let (seq, n) = match text.split_once('.') {
            Some((seq, n)) => (seq, Some(n)),
            None => (text, None),
        };
        let seq = digits(seq)?.parse().map_err(|_| InvalidEventNumber)?;
        match n {
            None => Ok(Self::after_entry(seq)),
            Some(n) => Ok(Self { seq, n: digits(n)?.parse().map_err(|_| InvalidEventNumber)? }),
        }
    }
}

/// The parser of integers accepts a sign.
fn digits(text: &str) -> Result<&str, InvalidEventNumber> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { Ok(text) } else { Err(InvalidEventNumber) }
}

impl Serialize for EventNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.n {
            ALL_OF_ENTRY => serializer.serialize_u64(self.seq),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for EventNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = EventNumber;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number of a journal entry, or a text such as \"7.1\"")
    }

    fn visit_u64<E: Error>(self, seq: u64) -> Result<EventNumber, E> {
        Ok(EventNumber::after_entry(seq))
    }

    fn visit_i64<E: Error>(self, seq: i64) -> Result<EventNumber, E> {
        let seq = u64::try_from(seq).map_err(|_| E::invalid_value(Unexpected::Signed(seq), &self))?;
        Ok(EventNumber::after_entry(seq))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<EventNumber, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl JsonSchema for EventNumber {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EventNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "format": "uint64", "minimum": 0, "type": "integer" },
                { "pattern": "^[0-9]+(\\.[0-9]+)?$", "type": "string" },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_that_of_an_entry_or_of_one_of_its_events() {
        for (text, number, entry_before) in [
            ("0", EventNumber::START, 0),
            ("7", EventNumber::after_entry(7), 7),
            ("7.0", EventNumber::new(7, 0), 6),
            ("7.12", EventNumber::new(7, 12), 6),
        ] {
            assert_eq!(text.parse(), Ok(number), "{text}");
            assert_eq!((number.to_string().as_str(), number.entry_before()), (text, entry_before));
        }
        let numbers = ["0", "6.9", "6", "7.0", "7.1", "7.10", "7", "8.0"].map(|text| text.parse::<EventNumber>());
        assert!(numbers.iter().all(Result::is_ok) && numbers.is_sorted_by_key(|number| number.ok()), "{numbers:?}");
        for text in ["", ".", "7.", ".1", "+7", "-7", "7.-1", "7.1.1", " 7", "7,1", "99999999999999999999"] {
            assert_eq!(text.parse::<EventNumber>(), Err(InvalidEventNumber), "{text:?}");
        }
    }

    #[test]
    fn the_number_of_an_entry_is_a_number_in_json_and_that_of_an_event_a_text() {
        for (json, number) in [("7", EventNumber::after_entry(7)), ("\"7.1\"", EventNumber::new(7, 1))] {
            assert_eq!(serde_json::to_string(&number).unwrap(), json);
            assert_eq!(serde_json::from_str::<EventNumber>(json).unwrap(), number);
        }
        assert_eq!(serde_json::from_str::<EventNumber>("\"7\"").unwrap(), EventNumber::after_entry(7));
        for json in ["-1", "7.5", "null", "\"x\"", "[7]"] {
            assert!(serde_json::from_str::<EventNumber>(json).is_err(), "{json}");
        }
    }
}
