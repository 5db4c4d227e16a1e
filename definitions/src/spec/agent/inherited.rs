//! What an agent has from outside of its file, and what its author says about the file itself.

use std::collections::BTreeMap;

use greenroom_protocol::AgentId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an agent has from outside of its file: the defaults of its category, and the texts of snippets. No file
/// contains it; the loader adds it, so that the definition is complete by itself wherever it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inherited {
    /// The members that came from the category, by their paths, such as `limits.max_tokens`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// The snippets of the category that follow the agent's own system prompt, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub appended: Vec<String>,
    /// The texts of all snippets that the system prompt contains, by name, those in other snippets among them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub snippets: BTreeMap<String, String>,
}

impl Inherited {
    /// True if everything is in the file of the agent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.appended.is_empty() && self.snippets.is_empty()
    }
}

/// Since when an agent should not be used any more, and what replaces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deprecated {
    /// The version of the agent in which this began.
    pub since: String,
    /// The agent to use in its place.
    #[serde(rename = "use")]
    pub replacement: AgentId,
}
