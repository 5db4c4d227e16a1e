//! An agent of the catalogue: its definition with compiled templates.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use greenroom_protocol::{AgentId, Cause, ContentHash, ErrorCode, Json, MicroUsd, Values};

use crate::canonical::{canonical_body, parse_stored};
use crate::capability::PERSONAL_DATA;
use crate::models::ModelRef;
use crate::prompt::Prompt;
use crate::types::Field;

pub use crate::spec::agent::{
    AgentLimits, AgentSpec, Assertion, Backoff, COMPONENT_NAME_BYTES_MAX, Collaboration, Deprecated, Example,
    Expectation, Implementation, Inherited, LABEL_BYTES_MAX, LABELS_MAX, Length, LengthBounds, MemoryRecall,
    ModelParameters, Placement, PromptSpec, ReasoningEffort, Retry, RuntimeKind, TEMPERATURE_MAX,
    TIMEOUT_SECONDS_DEFAULT, TIMEOUT_SECONDS_MAX, TOKENS_DEFAULT, TURNS_DEFAULT, ToolApproval, ToolRef, ToolUse,
    is_component_name, is_label, is_server_tool_name, is_tool_server_name,
};

/// An agent of the catalogue: its definition with compiled templates.
#[derive(Debug, Clone)]
pub struct Agent {
    spec: AgentSpec,
    prompt: Prompt,
    /// The canonical JSON and its hash. Computed on first use: an agent that is completed by the defaults of its category is
    /// replaced before.
    canonical: OnceLock<(Arc<str>, ContentHash)>,
    /// Computed on first use and shared by all executions.
    output_schema: OnceLock<Arc<Json>>,
}

impl Agent {
    /// Compiles an agent's templates.
    ///
    /// # Errors
    /// `invalid_definition` if a template is invalid or exceeds a bound.
    pub fn new(spec: AgentSpec) -> Result<Self, Cause> {
        let prompt = Prompt::compile(&spec)
            .map_err(|problem| Cause::new(ErrorCode::InvalidDefinition, format!("{}: {problem}", spec.agent_id)))?;
        Ok(Self::with_prompt(spec, prompt))
    }

    /// Creates an agent from compiled templates.
    pub(crate) fn with_prompt(spec: AgentSpec, prompt: Prompt) -> Self {
        Self { spec, prompt, canonical: OnceLock::new(), output_schema: OnceLock::new() }
    }

    /// Rebuilds an agent from its stored body.
    ///
    /// # Errors
    /// `internal` if the body was not produced by [`Agent::body`].
    pub fn from_body(body: &str) -> Result<Self, Cause> {
        Self::new(parse_stored(body, "agent")?)
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &AgentId {
        &self.spec.agent_id
    }

    /// True if the agent processes personal data.
    #[must_use]
    pub fn has_personal_data(&self) -> bool {
        self.spec.capabilities.iter().any(|capability| capability == PERSONAL_DATA)
    }

    /// True if a person approves the calls of one of its tools.
    #[must_use]
    pub fn needs_tool_approval(&self) -> bool {
        self.spec.tools.iter().any(ToolUse::needs_approval)
    }

    /// The definition as written.
    #[must_use]
    pub const fn spec(&self) -> &AgentSpec {
        &self.spec
    }

    /// Its templates.
    #[must_use]
    pub const fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// The canonical JSON that is hashed and stored.
    #[must_use]
    pub fn body(&self) -> &Arc<str> {
        &self.canonical().0
    }

    /// The hash of the body: its version.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        self.canonical().1
    }

    fn canonical(&self) -> &(Arc<str>, ContentHash) {
        self.canonical.get_or_init(|| canonical_body(&self.spec))
    }

    /// The timeout of one execution.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_secs(self.spec.implementation.timeout)
    }

    /// The labels that a pod needs to execute it.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.spec.implementation.placement.labels
    }

    /// The maximum number of tokens of one answer of its model.
    #[must_use]
    pub fn tokens_max(&self) -> u32 {
        self.spec.limits.max_tokens.unwrap_or(TOKENS_DEFAULT)
    }

    /// The maximum number of turns of one conversation.
    #[must_use]
    pub fn turns_max(&self) -> u32 {
        self.spec.limits.max_turns.unwrap_or(TURNS_DEFAULT)
    }

    /// The maximum cost of one execution. An amount that is none permits nothing; it would be no limit otherwise.
    #[must_use]
    pub fn cost_max(&self) -> Option<MicroUsd> {
        self.spec.limits.max_cost_usd.map(|usd| MicroUsd::from_usd(usd).unwrap_or_default())
    }

    /// The model that it calls first; the standard tier if it names none.
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
    /// `missing_input` or `invalid_input`; `details.problems` lists every invalid field.
    pub fn validate_inputs(&self, inputs: Values) -> Result<Values, Cause> {
        crate::types::validate_inputs(self.id().as_str(), &self.spec.inputs, inputs)
    }

    /// Checks outputs against the definition, and copies those with `from` from the inputs of this
    /// execution. Undeclared outputs are dropped.
    ///
    /// # Errors
    /// `invalid_output`; `details.problems` lists every invalid field.
    pub fn validate_outputs(&self, inputs: &Values, outputs: Values) -> Result<Values, Cause> {
        crate::types::validate_outputs(self.id().as_str(), &self.spec.outputs, inputs, outputs)
    }

    /// The JSON Schema of the outputs that a model must produce; outputs with `from` are excluded.
    #[must_use]
    pub fn output_schema(&self) -> Arc<Json> {
        Arc::clone(self.output_schema.get_or_init(|| Arc::new(crate::types::object_schema(&self.spec.outputs))))
    }

    /// The JSON Schema of its inputs, for an agent that calls it as a tool.
    #[must_use]
    pub fn input_schema(&self) -> Json {
        crate::types::object_schema(&self.spec.inputs)
    }
}
