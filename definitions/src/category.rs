//! A category: a business domain with one supervisor in the actor tree.

use greenroom_protocol::CategoryId;
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
    pub description: String,
}

/// The file `categories.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Categories {
    /// Every category.
    pub categories: Vec<Category>,
}
