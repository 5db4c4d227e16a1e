//! The items of a `for_each` step, as its journal has them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{ArtifactRef, Json};

/// The list of a `for_each` step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemList {
    /// The items themselves, together at most [`crate::limits::INLINE_VALUE_BYTES_MAX`] as JSON.
    Inline(Vec<Json>),
    /// Consecutive parts of the list in the artifact store, so that no item needs the whole list in memory.
    Stored(Vec<ItemChunk>),
}

/// A part of a list: a JSON array in the artifact store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ItemChunk {
    /// The number of items in it.
    pub items: u32,
    /// The artifact.
    pub artifact: ArtifactRef,
}
