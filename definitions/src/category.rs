//! A category: a business domain with one supervisor in the actor tree.

use greenroom_protocol::{AgentId, CategoryId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One business domain, as an entry of `categories.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Category {
    /// Its id, such as `business_ops`.
    pub id: CategoryId,
    /// Its display name.
    pub name: String,
    /// The agents that belong to it, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The number of its agents, which `greenroom definitions check` compares with the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_count: Option<u64>,
    /// Its agents, each by its id, with or without its `_NNN` ordinal. The check compares the list with the folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentId>,
}

/// The file `categories.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Categories {
    /// Every category.
    pub categories: Vec<Category>,
}
