//! The trait of language model providers, and the types of a call and its answer. Nothing here knows a
//! provider, a price or a protocol.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_definitions::agent::ModelParameters;
use greenroom_definitions::models::TokenCounts;
use greenroom_protocol::{CallKey, Cause, ErrorCode, Json, Values};
use greenroom_registry::ledger::Reservation;

/// A model by provider and name: `anthropic.claude-3-5-sonnet-20241022`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName {
    /// The provider's name, before the first dot.
    pub provider: String,
    /// The provider's own name of the model, after the first dot; it may have dots itself.
    pub model: String,
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.provider, self.model)
    }
}

impl FromStr for ModelName {
    type Err = Cause;
    fn from_str(text: &str) -> Result<Self, Cause> {
        match text.split_once('.') {
            Some((provider, model)) if !provider.is_empty() && !model.is_empty() => {
                Ok(Self { provider: provider.to_owned(), model: model.to_owned() })
            }
            _ => Err(Cause::new(ErrorCode::UnknownModel, format!("{text:?} is not PROVIDER.NAME"))),
        }
    }
}

/// The author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The user; all data from outside has this role.
    User,
    /// The model.
    Assistant,
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text.
    Text(String),
    /// A call of a tool by the model.
    ToolCall(ToolCall),
    /// The result of such a call.
    ToolResult {
        /// The id of the call.
        id: String,
        /// The result, as JSON text.
        content: String,
        /// True if the call was denied or failed.
        is_error: bool,
    },
}

/// One message of the conversation. The system part is not a message but a field of the call.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its author.
    pub role: Role,
    /// Its content.
    pub parts: Vec<Part>,
}

impl Message {
    /// Creates a message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::Text(text.into())] }
    }
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name in the provider's protocol: letters, digits, `_` and `-`.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub parameters: Json,
}

/// A call of a tool by the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The provider's id of this call.
    pub id: String,
    /// The tool's name in the provider's protocol.
    pub name: String,
    /// Its arguments as the model gave them: an object, null if it gave none, and anything else if it erred.
    pub arguments: Json,
}

/// The schema that an answer must match.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputSchema {
    /// A short name, `[a-z0-9_]`.
    pub name: String,
    /// The JSON Schema: an object with one property per output.
    pub schema: Arc<Json>,
}

/// The timeouts of the phases of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection is established.
    pub connect: Duration,
    /// Until the first byte of the answer.
    pub first_token: Duration,
    /// Between two events of the stream.
    pub idle: Duration,
    /// For the whole call.
    pub total: Duration,
}

/// One call of a model. It can only be made with a reservation of its worst-case cost.
#[derive(Debug, Clone, Copy)]
pub struct ModelCall<'a> {
    /// The model to call.
    pub model: &'a ModelName,
    /// The system part; only the definition contributes to it.
    pub system: &'a str,
    /// The conversation.
    pub messages: &'a [Message],
    /// The inputs of the agent, for a provider that copies from them; the messages contain what a language
    /// model reads of them.
    pub inputs: &'a Values,
    /// The schema of the answer, if the definition declares outputs.
    pub schema: Option<&'a OutputSchema>,
    /// The tools that the model may call.
    pub tools: &'a [ToolSpec],
    /// Maximum tokens of the answer; always sent.
    pub tokens_max: u32,
    /// What the definition asks of the sampling and the reasoning. A provider without one of them ignores it.
    pub parameters: ModelParameters,
    /// The idempotency key, the same for every retry.
    pub key: &'a CallKey,
    /// The timeouts of the phases.
    pub timeouts: Timeouts,
    /// The proof that the worst case of this call fits into every budget.
    pub reservation: &'a Reservation,
}

/// The reason why a model stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// The answer is complete.
    Complete,
    /// The model waits for tool results.
    Tools,
    /// The answer was truncated at `tokens_max`.
    Length,
    /// The model declined to answer.
    Refusal,
    /// Any other reason, as the provider names it.
    Other(String),
}

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// A piece of text.
    Text(String),
    /// A piece of reasoning. It is no part of the answer, but the model wrote it and the provider bills it.
    Reasoning,
    /// A complete tool call.
    Tool(ToolCall),
    /// The provider's own token count. The last one applies; an answer without a credible count is settled
    /// at its reservation.
    Usage(TokenCounts),
    /// The end; nothing follows.
    End(StopReason),
}

/// The phase of a call that timed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallPhase {
    /// Until the connection is established.
    Connect,
    /// Until the first byte of the answer.
    FirstToken,
    /// Between two events of the stream.
    Idle,
    /// The whole call.
    Total,
}

/// The failure of a call, in the classes that decide between retry, fallback and error.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// The provider has no capacity (429, 503, 529).
    #[error("the provider is overloaded ({status})")]
    Overloaded {
        /// Its HTTP status.
        status: u16,
        /// The delay of its `Retry-After` header.
        retry_after: Option<Duration>,
    },
    /// No connection could be made: the name, the address, the port or the certificate is wrong, or no
    /// server listens. No byte of the request was sent.
    #[error("the provider cannot be reached")]
    Unreachable,
    /// The provider does not accept the key (401, 403).
    #[error("the provider does not accept the key ({status})")]
    Unauthorized {
        /// Its HTTP status.
        status: u16,
    },
    /// The request does not fit into the model's context.
    #[error("the request does not fit into the model's context")]
    ContextOverflow {
        /// Requested tokens, if the provider reports them.
        requested: Option<u64>,
        /// The context size in tokens, if known.
        limit: Option<u64>,
    },
    /// The provider rejected the request (other 4xx).
    #[error("the provider rejected the request ({status}): {message}")]
    Rejected {
        /// Its HTTP status.
        status: u16,
        /// The provider's message, shortened, without a secret.
        message: String,
    },
    /// The provider failed (5xx), or the connection broke.
    #[error("the provider failed: {message}")]
    Failed {
        /// Its HTTP status, if there was one.
        status: Option<u16>,
        /// What happened, without a secret.
        message: String,
    },
    /// The answer cannot be read: an incomplete event, invalid data, or more bytes than allowed.
    #[error("the provider's answer cannot be read: {message}")]
    MalformedResponse {
        /// What is wrong with it.
        message: String,
    },
    /// The provider is not a language model, and the inputs do not state what the schema requires.
    #[error("{message}")]
    Unanswerable {
        /// The required fields that have no value.
        fields: Vec<String>,
        /// What is missing, and what to do.
        message: String,
    },
    /// A phase exceeded its timeout.
    #[error("the provider took too long ({phase:?})")]
    TimedOut {
        /// The phase.
        phase: CallPhase,
    },
}

/// The stream of an answer. Dropping it cancels the call.
pub type Deltas = BoxStream<'static, Result<Delta, ModelError>>;

/// A provider of language models.
#[async_trait]
pub trait ModelProvider: Send + Sync {
    /// Its name, the part before the first dot of a model's name.
    fn name(&self) -> &str;

    /// True if requests leave this organization, as the configuration of the provider states; the rule
    /// `deny_external_models` depends on it.
    fn is_external(&self) -> bool;

    /// The disclaimer of a provider that is not a language model. Its calls use no tokens and cost nothing.
    fn disclaimer(&self) -> Option<&'static str> {
        None
    }

    /// Sends the request and returns the stream of the answer.
    ///
    /// # Errors
    /// [`ModelError`] if no answer begins; later failures are items of the stream.
    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError>;
}
