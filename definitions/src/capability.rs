//! A capability: what an agent can do, as one word of the vocabulary `capabilities.yaml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The capability of agents that process personal data.
pub const PERSONAL_DATA: &str = "pii_access";

/// The check of the guard that a capability drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CapabilityPolicy {
    /// The agent processes personal data: the user needs the permission `pii_access`.
    PiiAccessOk,
}

impl CapabilityPolicy {
    /// Every check that a capability may drive.
    pub const ALL: [Self; 1] = [Self::PiiAccessOk];

    /// The name of the check.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PiiAccessOk => "pii_access_ok",
        }
    }
}

/// One capability, as an entry of `capabilities.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// Its id, such as `text_summarization`, by which an agent lists it.
    pub id: String,
    /// Its meaning, in words.
    pub description: String,
    /// The check of the guard that reads it; without one, the capability only describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<CapabilityPolicy>,
}

/// The file `capabilities.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Every capability.
    pub capabilities: Vec<Capability>,
}
