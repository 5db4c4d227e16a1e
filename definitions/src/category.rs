//! A category: one business domain, and one supervisor in the actor tree.

use greenroom_protocol::CategoryId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One business domain, as an entry of `categories.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Category {
    /// Its id, such as `business_ops`.
    pub id: CategoryId,
    /// What people call it.
    pub name: String,
    /// What belongs to it.
    pub description: String,
}

/// The whole of `categories.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Categories {
    /// Every category.
    pub categories: Vec<Category>,
}
