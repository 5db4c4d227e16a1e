//! Requests to an agent's memory. Vectors are not transmitted: the store of the memory computes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hash::ContentHash;
use crate::id::{AgentId, CallKey};

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
}

/// A change of an agent's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryChange {
    /// Adds one text.
    Remember {
        /// The text to store, which a later recall returns.
        text: String,
        /// The text that is embedded for the search; without it, `text` is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index_text: Option<String>,
    },
    /// Deletes one memory, or all of them.
    Forget {
        /// The memory to delete; without it, all memories of the agent in this tenant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<ContentHash>,
    },
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
