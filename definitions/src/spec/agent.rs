//! `agents/<category>/<id>.yaml` as written: an agent's definition before its templates are compiled.

use greenroom_protocol::{AgentId, CategoryId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::Field;

mod expectation;
mod inherited;
mod parameters;
mod parts;
mod tool_use;

pub use expectation::{Assertion, Expectation, Length, LengthBounds};
pub use inherited::{Deprecated, Inherited};
pub use parameters::{ModelParameters, ReasoningEffort, TEMPERATURE_MAX};
pub use parts::{
    AgentLimits, Backoff, COMPONENT_NAME_BYTES_MAX, Collaboration, Example, Implementation, MemoryRecall, Placement,
    PromptSpec, Retry, RuntimeKind, ToolRef, is_component_name, is_server_tool_name, is_tool_server_name,
};
pub use tool_use::{ToolApproval, ToolUse};

/// The longest label of a pod, in bytes.
pub const LABEL_BYTES_MAX: usize = 64;
/// Maximum number of labels of a pod, and of those that an agent needs.
pub const LABELS_MAX: usize = 16;
/// Default timeout of an execution, in seconds.
pub const TIMEOUT_SECONDS_DEFAULT: u64 = 60;
/// The longest timeout that a definition may set, in seconds.
pub const TIMEOUT_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Default number of turns of a conversation.
pub const TURNS_DEFAULT: u32 = 8;
/// Default number of tokens of a model's answer.
pub const TOKENS_DEFAULT: u32 = 4_096;

/// An agent, as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentSpec {
    /// Its id, such as `executive_summary_agent_001`. A reference may leave out a trailing `_NNN`.
    pub agent_id: AgentId,
    /// Its display name.
    pub name: String,
    /// Its category.
    pub category: CategoryId,
    /// Its purpose, in one sentence.
    pub description: String,
    /// Its author's version.
    pub version: String,
    /// Who answers for it, such as a department.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Words by which a person finds it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Since when it should not be used any more, and what replaces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecated>,
    /// Its capabilities, words of `capabilities.yaml`; policy reads `pii_access`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Its inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Field>,
    /// Its outputs.
    pub outputs: Vec<Field>,
    /// The agents it works with, and the context keys it writes.
    #[serde(default, skip_serializing_if = "Collaboration::is_empty")]
    pub collaboration: Collaboration,
    /// Policies that every request to it must pass: names, or maps of a name and its parameter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::policy::list_schema")]
    pub policies: Vec<String>,
    /// The runtime that executes it, with its settings.
    pub implementation: Implementation,
    /// The tools it may call: names, or maps of a name and `approval`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolUse>,
    /// Memories that are recalled before an execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_recall: Option<MemoryRecall>,
    /// Limits of one execution.
    #[serde(default, skip_serializing_if = "AgentLimits::is_empty")]
    pub limits: AgentLimits,
    /// Retries of a failed execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Example inputs with expected outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
    /// What it has from outside of its file.
    #[serde(default, skip_serializing_if = "Inherited::is_empty")]
    #[schemars(skip)]
    pub inherited: Inherited,
}

/// True if the text can be a label of a pod: lower-case letters, digits, `-`, `_`, `.`, `:` and `=`, at most
/// [`LABEL_BYTES_MAX`] of them, the first one a letter or a digit.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= LABEL_BYTES_MAX
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || b"-_.:=".contains(&byte))
}
