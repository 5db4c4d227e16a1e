//! An agent: what it takes, what it gives back, what runs it and within which limits.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use greenroom_protocol::{AgentId, CategoryId, Cause, ContentHash, ErrorCode, Json, MicroUsd, Values};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::models::ModelRef;
use crate::prompt::Prompt;
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

/// An agent of the catalogue: what is written, with its templates compiled.
#[derive(Debug, Clone)]
pub struct Agent {
    spec: AgentSpec,
    prompt: Prompt,
    body: Arc<str>,
    hash: ContentHash,
    /// Made when it is first asked for: every execution is held to the same one.
    output_schema: OnceLock<Arc<Json>>,
}

impl Agent {
    /// Compiles an agent's templates.
    ///
    /// # Errors
    /// `invalid_definition`, if a template is wrong or out of bounds.
    pub fn new(spec: AgentSpec) -> Result<Self, Cause> {
        let prompt = Prompt::compile(&spec)
            .map_err(|problem| Cause::new(ErrorCode::InvalidDefinition, format!("{}: {problem}", spec.agent_id)))?;
        Ok(Self::with_prompt(spec, prompt))
    }

    /// An agent whose templates are compiled already.
    pub(crate) fn with_prompt(spec: AgentSpec, prompt: Prompt) -> Self {
        let (body, hash) = body_of(&spec);
        Self { spec, prompt, body, hash, output_schema: OnceLock::new() }
    }

    /// Rebuilds an agent from the body that the registry kept.
    ///
    /// # Errors
    /// `internal`, if the body is not one that [`Agent::body`] gave.
    pub fn from_body(body: &str) -> Result<Self, Cause> {
        Self::new(from_stored(body, "agent")?)
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &AgentId {
        &self.spec.agent_id
    }

    /// The agent as written.
    #[must_use]
    pub const fn spec(&self) -> &AgentSpec {
        &self.spec
    }

    /// Its templates.
    #[must_use]
    pub const fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// The canonical JSON that is hashed and kept.
    #[must_use]
    pub const fn body(&self) -> &Arc<str> {
        &self.body
    }

    /// The hash of the body: its version.
    #[must_use]
    pub const fn hash(&self) -> ContentHash {
        self.hash
    }

    /// How long one execution may take.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_secs(self.spec.implementation.timeout)
    }

    /// Tokens that one answer of its model may have.
    #[must_use]
    pub fn tokens_max(&self) -> u32 {
        self.spec.limits.max_tokens.unwrap_or(TOKENS_DEFAULT)
    }

    /// Turns that its tool loop may take.
    #[must_use]
    pub fn turns_max(&self) -> u32 {
        self.spec.limits.max_turns.unwrap_or(TURNS_DEFAULT)
    }

    /// What one execution may cost.
    #[must_use]
    pub fn cost_max(&self) -> Option<MicroUsd> {
        self.spec.limits.max_cost_usd.and_then(MicroUsd::from_usd)
    }

    /// The model that it asks first; the standard tier if it names none.
    #[must_use]
    pub fn model(&self) -> ModelRef {
        self.spec.implementation.model.clone().unwrap_or_else(ModelRef::standard)
    }

    /// The input of that name.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<&Field> {
        self.spec.inputs.iter().find(|field| field.name == name)
    }

    /// The output of that name.
    #[must_use]
    pub fn output(&self, name: &str) -> Option<&Field> {
        self.spec.outputs.iter().find(|field| field.name == name)
    }

    /// Checks inputs against the definition and fills in defaults.
    ///
    /// # Errors
    /// `missing_input` or `invalid_input`; every field that is wrong is in `details.problems`.
    pub fn validate_inputs(&self, inputs: Values) -> Result<Values, Cause> {
        crate::types::validate_inputs(self.id().as_str(), &self.spec.inputs, inputs)
    }

    /// Checks outputs against the definition, and takes those that are an input (`from`) from the
    /// inputs of this execution. Outputs that it does not declare are left out.
    ///
    /// # Errors
    /// `invalid_output`; every field that is wrong is in `details.problems`.
    pub fn validate_outputs(&self, inputs: &Values, outputs: Values) -> Result<Values, Cause> {
        crate::types::validate_outputs(self.id().as_str(), &self.spec.outputs, inputs, outputs)
    }

    /// The JSON Schema of the outputs that a model has to give; those taken from an input are not asked.
    #[must_use]
    pub fn output_schema(&self) -> Arc<Json> {
        Arc::clone(self.output_schema.get_or_init(|| Arc::new(crate::types::object_schema(&self.spec.outputs))))
    }

    /// The JSON Schema of its inputs, for a caller that uses it as a tool.
    #[must_use]
    pub fn input_schema(&self) -> Json {
        crate::types::object_schema(&self.spec.inputs)
    }
}

/// The canonical JSON of a definition and its hash. Members stand in the order of the struct, and
/// maps in the order of their keys, so the same definition always has the same hash.
pub(crate) fn body_of<T: Serialize>(spec: &T) -> (Arc<str>, ContentHash) {
    // A definition holds no map with keys that are not text, so writing it as JSON cannot fail.
    let text = serde_json::to_string(spec).unwrap_or_default();
    let hash = ContentHash::of(text.as_bytes());
    (Arc::from(text), hash)
}

pub(crate) fn from_stored<T: DeserializeOwned>(body: &str, what: &str) -> Result<T, Cause> {
    serde_json::from_str(body).map_err(|error| {
        Cause::new(ErrorCode::Internal, format!("the stored body of the {what} cannot be read: {error}"))
    })
}
