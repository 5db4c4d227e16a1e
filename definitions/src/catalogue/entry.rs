//! One definition of a catalogue: decoded already, or a text of the compiled form that is decoded when it is first used.

use std::sync::{Arc, OnceLock};

use greenroom_protocol::{Cause, ContentHash, ErrorCode};

use crate::agent::Agent;
use crate::kind::DefinitionKind;
use crate::team::Team;
use crate::workflow::Workflow;

/// A kind of definition that a catalogue has by id.
pub(crate) trait Definition: Sized {
    /// The kind.
    const KIND: DefinitionKind;

    /// Rebuilds a definition from its stored body.
    fn from_body(body: &str) -> Result<Self, Cause>;

    /// The canonical JSON.
    fn body(&self) -> &Arc<str>;

    /// The hash of the body.
    fn hash(&self) -> ContentHash;
}

/// The three kinds have the same methods of their own.
macro_rules! definitions {
    ($($kind:ident),*) => {
        $(impl Definition for $kind {
            const KIND: DefinitionKind = DefinitionKind::$kind;

            fn from_body(body: &str) -> Result<Self, Cause> {
                Self::from_body(body)
            }

            fn body(&self) -> &Arc<str> {
                self.body()
            }

            fn hash(&self) -> ContentHash {
                self.hash()
            }
        })*
    };
}

definitions!(Agent, Workflow, Team);

/// One definition of a catalogue.
#[derive(Debug, Clone)]
pub(crate) struct Entry<T> {
    hash: ContentHash,
    /// The text of the compiled form; empty for a definition that was decoded when the catalogue was made.
    text: &'static str,
    /// Shared by all holders of the catalogue once it is decoded.
    value: OnceLock<Arc<T>>,
}

impl<T: Definition> Entry<T> {
    /// A decoded definition.
    pub(crate) fn decoded(value: T) -> Self {
        Self { hash: value.hash(), text: "", value: OnceLock::from(Arc::new(value)) }
    }

    /// A text of the compiled form, with the hash of the definition in it.
    pub(crate) const fn compiled(hash: ContentHash, text: &'static str) -> Self {
        Self { hash, text, value: OnceLock::new() }
    }

    /// The version of the definition; it is known without decoding.
    pub(crate) const fn hash(&self) -> ContentHash {
        self.hash
    }

    /// The canonical JSON without decoding it.
    pub(super) fn text(&self) -> &str {
        self.value.get().map_or(self.text, |value| &**value.body())
    }

    /// The canonical JSON, shared with the definition if that is decoded.
    pub(super) fn body(&self) -> Arc<str> {
        self.value.get().map_or_else(|| Arc::from(self.text), |value| Arc::clone(value.body()))
    }

    /// The definition; the first call decodes it.
    ///
    /// # Errors
    /// `invalid_definition` if the text is not the one that was compiled: its program is damaged.
    pub(crate) fn get(&self) -> Result<&Arc<T>, Cause> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let decoded = T::from_body(self.text).map_err(|cause| self.damage(&cause.message))?;
        // The hash is that of the body which the decoded value has, so it covers every member of it.
        if decoded.hash() != self.hash {
            return Err(self.damage("it has another hash"));
        }
        Ok(self.value.get_or_init(|| Arc::new(decoded)))
    }

    fn damage(&self, reason: &str) -> Cause {
        let (kind, version) = (T::KIND.as_str(), self.hash.short());
        let message = format!(
            "the {kind} {version} of the embedded catalogue is damaged, so the program has to be installed again: {reason}"
        );
        Cause::new(ErrorCode::InvalidDefinition, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEAM: &str = r#"{"team_id":"crew","name":"Crew","agents":["writer"]}"#;

    fn entry(text: &'static str) -> Entry<Team> {
        Entry::compiled(ContentHash::from_content(TEAM.as_bytes()), text)
    }

    #[test]
    fn a_text_is_decoded_once_and_then_shared() {
        let entry = entry(TEAM);
        assert!(entry.value.get().is_none());
        let first = Arc::clone(entry.get().unwrap());
        assert!(Arc::ptr_eq(&first, entry.get().unwrap()));
        assert_eq!((first.hash(), &*entry.body(), entry.text()), (entry.hash(), TEAM, TEAM));
        assert_eq!(first.spec().name, "Crew");
    }

    #[test]
    fn a_damaged_text_is_an_error_with_a_code() {
        for text in ["", r#"{"team_id":"crew""#, r#"{"team_id":"crew","name":"Crow","agents":["writer"]}"#] {
            let cause = entry(text).get().unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidDefinition, "{text}");
            assert!(cause.message.contains("damaged"), "{}", cause.message);
        }
    }

    #[test]
    fn a_decoded_definition_needs_no_text() {
        let team = Team::from_body(TEAM).unwrap();
        let entry = Entry::decoded(team.clone());
        assert_eq!((entry.hash(), &*entry.body()), (team.hash(), TEAM));
        assert_eq!(**entry.get().unwrap(), team);
    }
}
