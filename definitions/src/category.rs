//! A category: a business domain with one supervisor in the actor tree.

use greenroom_protocol::{AgentId, CategoryId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::{AgentLimits, Retry};
use crate::models::ModelRef;

/// One business domain, as an entry of `categories.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// What its agents have without saying it.
    #[serde(default, skip_serializing_if = "CategoryDefaults::is_empty")]
    pub defaults: CategoryDefaults,
}

/// What the agents of a category have without saying it. An agent overrides the model and the retries as a whole, and
/// its limits one by one; policies are added to its own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CategoryDefaults {
    /// Policies that every request to its agents must pass: names, or maps of a name and its parameter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::policy::list_schema")]
    pub policies: Vec<String>,
    /// The model that is called: a tier (`tier.standard`) or `PROVIDER.NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// Limits of one execution.
    #[serde(skip_serializing_if = "AgentLimits::is_empty")]
    pub limits: AgentLimits,
    /// Retries of a failed execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Snippets that follow the system prompt, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snippets: Vec<String>,
}

impl CategoryDefaults {
    /// True if the category gives nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
            && self.model.is_none()
            && self.limits.is_empty()
            && self.retry.is_none()
            && self.snippets.is_empty()
    }
}

/// The file `categories.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Categories {
    /// Every category.
    pub categories: Vec<Category>,
}
