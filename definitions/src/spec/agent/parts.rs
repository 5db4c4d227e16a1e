//! The parts of an agent's definition, as written.

use std::fmt;
use std::str::FromStr;

use greenroom_protocol::{AgentId, ContextKey, Values};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Expectation, ModelParameters};
use crate::models::ModelRef;

/// The longest name of a WebAssembly component, in bytes.
pub const COMPONENT_NAME_BYTES_MAX: usize = 128;

/// The agents that an agent works with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Collaboration {
    /// The agents that it may call, and that may call it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub can_work_with: Vec<AgentId>,
    /// The keys of the team's shared context that it may write.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub provides_to_team: Vec<ContextKey>,
}

impl Collaboration {
    /// True if both lists are empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.can_work_with.is_empty() && self.provides_to_team.is_empty()
    }
}

/// The kind of runtime that executes an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeKind {
    /// A language model with a prompt.
    Llm,
    /// A handler compiled into the platform.
    Native,
    /// A WebAssembly component.
    Wasm,
    /// A Python process.
    Python,
    /// An HTTP service.
    Http,
}

impl RuntimeKind {
    /// Every runtime that a definition may name.
    pub const ALL: &'static [Self] = &[Self::Llm, Self::Native, Self::Wasm, Self::Python, Self::Http];

    /// The name of the runtime as a definition writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::Native => "native",
            Self::Wasm => "wasm",
            Self::Python => "python",
            Self::Http => "http",
        }
    }
}

/// True if the text can be the name of a WebAssembly component: the name of a file that ends with `.wasm`, of letters,
/// digits, `-`, `_` and `.`, at most [`COMPONENT_NAME_BYTES_MAX`] of them, the first one a letter or a digit. So it names no
/// other folder.
#[must_use]
pub fn is_component_name(text: &str) -> bool {
    text.len() <= COMPONENT_NAME_BYTES_MAX
        && text.strip_suffix(".wasm").is_some_and(|stem| !stem.is_empty())
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Where an agent may be executed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Placement {
    /// The labels that a pod needs to execute the agent: a GPU, an interpreter, a region. Without any, every pod may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

impl Placement {
    /// True if every pod may execute the agent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// The implementation of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Implementation {
    /// The kind of runtime that executes it.
    pub runtime: RuntimeKind,
    /// The handler in that runtime: a native handler, a module, a function or a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// The model that is called: a tier (`tier.standard`) or `PROVIDER.NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// The models that are called, in this order, if the first one fails.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback_models: Vec<ModelRef>,
    /// The parameters of the model, where its provider has them.
    #[serde(default, skip_serializing_if = "ModelParameters::is_empty")]
    pub parameters: ModelParameters,
    /// The prompt of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptSpec>,
    /// The timeout of one execution, in seconds.
    #[serde(default = "timeout_default")]
    pub timeout: u64,
    /// Memory that one execution may use, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Where it may be executed.
    #[serde(default, skip_serializing_if = "Placement::is_empty")]
    pub placement: Placement,
}

const fn timeout_default() -> u64 {
    super::TIMEOUT_SECONDS_DEFAULT
}

/// The two templates of a prompt. Inputs of a caller can reach only the second one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromptSpec {
    /// The system prompt: a template over the definition's constants (`agent`, `outputs`) only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The user prompt: a template over `inputs` and `context`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Limits of one execution.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentLimits {
    /// The maximum number of tokens of one answer of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// The maximum cost of one execution, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
    /// The maximum number of turns of one conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// Concurrent executions on one pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
}

impl AgentLimits {
    /// True if no limit is set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.max_tokens.is_none()
            && self.max_cost_usd.is_none()
            && self.max_turns.is_none()
            && self.max_concurrency.is_none()
    }
}

/// The growth of the delay between two attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// The same delay each time.
    Fixed,
    /// Twice the previous delay each time.
    #[default]
    Exponential,
}

/// The number of attempts and the delays between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// The maximum number of attempts, including the first.
    pub max_attempts: u32,
    /// The growth of the delay.
    #[serde(default)]
    pub backoff: Backoff,
    /// The first delay, in seconds.
    #[serde(default = "Retry::delay_default")]
    pub delay: f64,
    /// The longest delay, in seconds.
    #[serde(default = "Retry::max_delay_default")]
    pub max_delay: f64,
}

impl Retry {
    pub(crate) const fn delay_default() -> f64 {
        0.5
    }

    pub(crate) const fn max_delay_default() -> f64 {
        30.0
    }

    /// Returns the delay after a failed attempt (1 for the first); `None` after the last attempt.
    #[must_use]
    pub fn delay_after(&self, attempt: u32) -> Option<std::time::Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let factor = match self.backoff {
            Backoff::Fixed => 1.0,
            Backoff::Exponential => 2_f64.powi(i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX).min(64)),
        };
        std::time::Duration::try_from_secs_f64((self.delay * factor).min(self.max_delay)).ok()
    }
}

/// The memories that are recalled before an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryRecall {
    /// The input whose text is the query.
    pub query: String,
    /// The maximum number of memories.
    pub limit: u32,
}

/// Example inputs with expected outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Its name in reports; without it, its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The inputs, by name.
    pub inputs: Values,
    /// What it expects: assertions, or the expected outputs by name.
    #[serde(default, skip_serializing_if = "Expectation::is_empty")]
    pub expect: Expectation,
    /// True if it also holds with the model `offline`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_offline: bool,
}

/// Bytes of the name of a server of tools.
const TOOL_SERVER_BYTES_MAX: usize = 64;
/// Bytes of the name of a tool of a server.
const SERVER_TOOL_BYTES_MAX: usize = 128;

/// A tool that an agent may call: `agent:ID`, `native:NAME`, `http:API/OPERATION` or `mcp:SERVER/TOOL`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum ToolRef {
    /// Another agent; the call is a request of its own, which the guard authorizes.
    Agent(AgentId),
    /// A tool compiled into the platform.
    Native(String),
    /// An operation of an HTTP API that the configuration names: `API/OPERATION`.
    Http(String),
    /// A tool of a server that speaks the Model Context Protocol and is configured under this name.
    Mcp {
        /// The name of the server in the configuration.
        server: String,
        /// The name of the tool on that server.
        tool: String,
    },
}

/// True if a server of tools can have this name: lower-case letters, digits, `_` and `-`.
#[must_use]
pub fn is_tool_server_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    !text.is_empty() && text.len() <= TOOL_SERVER_BYTES_MAX && text.bytes().all(is_plain)
}

/// True if a tool of a server can have this name, by the rules of the Model Context Protocol.
#[must_use]
pub fn is_server_tool_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    !text.is_empty() && text.len() <= SERVER_TOOL_BYTES_MAX && text.bytes().all(is_plain)
}

impl fmt::Display for ToolRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => write!(f, "agent:{agent}"),
            Self::Native(name) => write!(f, "native:{name}"),
            Self::Http(name) => write!(f, "http:{name}"),
            Self::Mcp { server, tool } => write!(f, "mcp:{server}/{tool}"),
        }
    }
}

impl FromStr for ToolRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("agent", id)) => AgentId::new(id).map(Self::Agent).map_err(|error| error.to_string()),
            Some(("native", name)) if !name.is_empty() => Ok(Self::Native(name.to_owned())),
            Some(("http", name)) if is_operation(name) => Ok(Self::Http(name.to_owned())),
            Some(("mcp", name)) => match name.split_once('/') {
                Some((server, tool)) if is_tool_server_name(server) && is_server_tool_name(tool) => {
                    Ok(Self::Mcp { server: server.to_owned(), tool: tool.to_owned() })
                }
                Some(_) | None => Err("a tool of a server is `mcp:SERVER/TOOL`: the server has lower-case letters, \
                                       digits, `_` and `-`, the tool letters, digits, `_`, `-`, `.` and `/`"
                    .to_owned()),
            },
            _ => Err("a tool is `agent:ID`, `native:NAME`, `http:API/OPERATION` or `mcp:SERVER/TOOL`".to_owned()),
        }
    }
}

/// True for the name of an API and that of one of its operations.
fn is_operation(name: &str) -> bool {
    name.split_once('/').is_some_and(|(api, operation)| !api.is_empty() && !operation.is_empty())
}

impl TryFrom<String> for ToolRef {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ToolRef> for String {
    fn from(tool: ToolRef) -> Self {
        tool.to_string()
    }
}
