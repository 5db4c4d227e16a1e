//! Requests to an agent's memory. Vectors are not transmitted: the store of the memory computes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Cause, ErrorCode};
use crate::hash::ContentHash;
use crate::id::{AgentId, CallKey};
use crate::limits::NAME_BYTES_MAX;

/// Reads memories of an agent, within the caller's tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryRead {
    /// The agent that owns the memory.
    pub agent: AgentId,
    /// The text to search by: the most similar memories are returned. Without it, the newest ones are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The maximum number of memories; 0 means the default.
    #[serde(default)]
    pub limit: u32,
    /// True to have the memories counted, and none of them returned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub count: bool,
}

/// A change of an agent's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryChange {
    /// Adds one text, or the parts of a document.
    Remember {
        /// The text to store, which a later recall returns.
        text: String,
        /// The text that is embedded for the search; without it, `text` is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index_text: Option<String>,
        /// The name of the document that the text is. It is remembered in parts, which replace those of the document that
        /// had this name before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// Deletes one memory, those of a document, or all of them.
    Forget {
        /// The memory to delete; without it and without a document, all memories of the agent in this tenant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<ContentHash>,
        /// The document whose parts to delete.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
}

impl MemoryChange {
    /// The name of the document that the change concerns.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::Remember { source, .. } | Self::Forget { source, .. } => source.as_deref(),
        }
    }

    /// Checks the name of the document: prompts and lists show it in one line.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if it is empty, too long, or has a control character; or if a memory and a document
    /// are to be deleted at once.
    pub fn check_source(&self) -> Result<(), Cause> {
        let invalid = |problem: String| Err(Cause::new(ErrorCode::InvalidRequest, format!("`source` {problem}")));
        let Some(source) = self.source() else { return Ok(()) };
        if matches!(self, Self::Forget { id: Some(_), .. }) {
            return invalid("and `id` select different memories; send one of them".to_owned());
        }
        if source.trim().is_empty() {
            return invalid("is the name of a document, and must not be empty".to_owned());
        }
        if source.len() > NAME_BYTES_MAX {
            return invalid(format!("has {} bytes, at most {NAME_BYTES_MAX} are allowed", source.len()));
        }
        if source.chars().any(char::is_control) {
            return invalid("has a control character; it is shown in one line".to_owned());
        }
        Ok(())
    }
}

/// Changes the memory of an agent, within the caller's tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryWrite {
    /// The agent that owns the memory.
    pub agent: AgentId,
    /// The change.
    pub change: MemoryChange,
    /// The idempotency key of this effect: repeating the request with the same key stores one memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CallKey>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remember(source: &str) -> MemoryChange {
        MemoryChange::Remember { text: "text".into(), index_text: None, source: Some(source.into()) }
    }

    #[test]
    fn a_document_has_a_name_of_one_line() {
        for source in ["guide.md", "handbook/ä b.txt", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(remember(source).check_source(), Ok(()), "{source}");
        }
        for source in ["", "  ", "a\nb", "a\0b", &"x".repeat(NAME_BYTES_MAX + 1)] {
            let cause = remember(source).check_source().unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidRequest, "{source:?}");
        }
        let both = MemoryChange::Forget { id: Some(ContentHash::from_content(b"x")), source: Some("guide.md".into()) };
        assert!(both.check_source().unwrap_err().message.contains("send one of them"));
        assert_eq!(MemoryChange::Forget { id: None, source: None }.check_source(), Ok(()));
    }
}
