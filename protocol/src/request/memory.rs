//! What can be asked of an agent's memory. Vectors never travel: who keeps the memory makes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hash::ContentHash;
use crate::id::{AgentId, CallKey};

/// Read what an agent remembers, for the tenant of the one who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryRead {
    /// Whose memory.
    pub agent: AgentId,
    /// What to look for: the memories most like it come back. Without it, the newest ones do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Memories at most; 0 means the default.
    #[serde(default)]
    pub limit: u32,
}

/// How a memory changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryChange {
    /// Keep one more text.
    Remember {
        /// What is kept, and given back later.
        text: String,
        /// What it is found by later; without it, the text itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index_text: Option<String>,
    },
    /// Forget one memory, or all of them.
    Forget {
        /// Which; without it, all that the agent remembers for this tenant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<ContentHash>,
    },
}

/// Change what an agent remembers, for the tenant of the one who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryWrite {
    /// Whose memory.
    pub agent: AgentId,
    /// What to do.
    pub change: MemoryChange,
    /// The idempotency key of this effect: asked twice with one key, it is remembered once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CallKey>,
}
