//! `agents/<category>/<id>.yaml` as written: an agent's definition before its templates are compiled.

use greenroom_protocol::{AgentId, CategoryId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::Field;

mod parts;

pub use parts::{
    AgentLimits, Backoff, Collaboration, Example, Implementation, MemoryRecall, PromptSpec, Retry, RuntimeKind, ToolRef,
};

/// How long an agent may work if its definition does not say, in seconds.
pub const TIMEOUT_SECONDS_DEFAULT: u64 = 60;
/// The longest time that a definition may ask for, in seconds.
pub const TIMEOUT_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Turns of a model's tool loop if the definition does not say.
pub const TURNS_DEFAULT: u32 = 8;
/// Tokens of a model's answer if the definition does not say.
pub const TOKENS_DEFAULT: u32 = 4_096;

/// An agent, as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentSpec {
    /// Its id, such as `executive_summary_agent_001`. A reference may leave out a trailing `_NNN`.
    pub agent_id: AgentId,
    /// What people call it.
    pub name: String,
    /// The category that it belongs to.
    pub category: CategoryId,
    /// What it does, in one sentence.
    pub description: String,
    /// The version that its author gave it.
    pub version: String,
    /// What it can do; `pii_access` is known to policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// What it takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Field>,
    /// What it gives back.
    pub outputs: Vec<Field>,
    /// Whom it works with.
    #[serde(default, skip_serializing_if = "Collaboration::is_empty")]
    pub collaboration: Collaboration,
    /// Rules that every request to it must pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// What runs it.
    pub implementation: Implementation,
    /// What it may use while it works.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolRef>,
    /// What it is reminded of before it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_recall: Option<MemoryRecall>,
    /// What one execution may use.
    #[serde(default, skip_serializing_if = "AgentLimits::is_empty")]
    pub limits: AgentLimits,
    /// How often a failed execution is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Inputs, and what a good answer to them holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
}
