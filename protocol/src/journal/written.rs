//! An entry as a store has it: its JSON, with the version of the release that has written it.
//!
//! An entry that this release does not know is an error and is never skipped: the state of a run is the fold of all its
//! entries. The run is left to a pod that reads them.

use serde::Deserialize;
use serde::de::Error as _;

use super::Entry;
use crate::limits::{PROTOCOL_VERSION, PROTOCOL_VERSION_READ_MAX};
use crate::peek::{document, remove_unknown_members};
use crate::version::WrittenVersion;

/// The member that states the version. An entry has members called `version` that state something else.
const VERSION_MEMBER: &str = "protocol_version";

/// The version of an entry.
#[derive(Deserialize)]
struct Head {
    #[serde(default = "WrittenVersion::first")]
    protocol_version: WrittenVersion,
}

document!(Entry);

impl Entry {
    /// Encodes the entry for a store.
    ///
    /// # Errors
    /// The errors of the serialiser.
    pub fn to_stored(&self) -> Result<String, serde_json::Error> {
        if WrittenVersion::OWN.is_first() {
            return serde_json::to_string(self);
        }
        let mut document = serde_json::to_value(self)?;
        if let Some(members) = document.as_object_mut() {
            members.insert(VERSION_MEMBER.to_owned(), PROTOCOL_VERSION.into());
        }
        serde_json::to_string(&document)
    }

    /// Decodes the entry of a store.
    ///
    /// # Errors
    /// The errors of the parser: also for an entry of a kind that is unknown, and for one of a version that cannot be
    /// read.
    pub fn from_stored(text: &str) -> Result<Self, serde_json::Error> {
        // Nearly no entry has the member, and most of them are short: they are parsed once.
        if text.contains(VERSION_MEMBER) {
            let Head { protocol_version: version } = serde_json::from_str(text)?;
            if !version.is_readable() {
                return Err(serde_json::Error::custom(format!(
                    "the journal entry has protocol version {}; this release has version {PROTOCOL_VERSION} and reads \
                     at most {PROTOCOL_VERSION_READ_MAX}",
                    version.0
                )));
            }
            if version > WrittenVersion::OWN {
                let mut document = serde_json::from_str(text)?;
                remove_unknown_members::<Self>(&mut document);
                return serde_json::from_value(document);
            }
        }
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_if_its_version_and_its_kind_are_known() {
        assert_eq!(Entry::NestedRetryTaken.to_stored().unwrap(), r#"{"entry":"nested_retry_taken"}"#);
        for text in [
            r#"{"entry":"nested_retry_taken"}"#,
            r#"{"entry":"nested_retry_taken","protocol_version":1}"#,
            r#"{"protocol_version":2,"later":[1],"entry":"nested_retry_taken"}"#,
        ] {
            assert_eq!(Entry::from_stored(text).unwrap(), Entry::NestedRetryTaken, "{text}");
        }
        let error = Entry::from_stored(r#"{"entry":"nested_retry_taken","protocol_version":3}"#).unwrap_err();
        assert!(error.to_string().contains("version 3; this release has version 1 and reads at most 2"), "{error}");
        for text in [r#"{"entry":"of_a_later_release","protocol_version":2}"#, r#"{"entry":"of_a_later_release"}"#] {
            let error = Entry::from_stored(text).unwrap_err();
            assert!(error.to_string().contains("of_a_later_release"), "an unknown entry is never skipped: {error}");
        }
    }
}
