//! The seam behind which language models stand. Nothing here knows a provider, a price or a wire.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol::{CallKey, Cause, ErrorCode, Json, Tokens};
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

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one who asks; all data from outside arrives under this role.
    User,
    /// The model.
    Assistant,
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text.
    Text(String),
    /// The model asks for a tool.
    ToolCall(ToolCall),
    /// What the tool gave.
    ToolResult {
        /// The id of the call.
        id: String,
        /// The result, as JSON text.
        content: String,
        /// True if the tool was refused or failed.
        is_error: bool,
    },
}

/// One message of the conversation. The system part is not one of them: it stands in the call.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who wrote it.
    pub role: Role,
    /// What it says.
    pub parts: Vec<Part>,
}

impl Message {
    /// A message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::Text(text.into())] }
    }
}

/// A tool that the model may ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name on the wire: letters, digits, `_` and `-`.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub parameters: Json,
}

/// The model asks for a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The provider's id of this call.
    pub id: String,
    /// The tool's name on the wire.
    pub name: String,
    /// Its arguments.
    pub arguments: Json,
}

/// The shape that an answer must have.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputSchema {
    /// A short name, `[a-z0-9_]`.
    pub name: String,
    /// The JSON Schema: an object with one property an output.
    pub schema: Arc<Json>,
}

/// How long each phase of a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until the first byte of the answer.
    pub first_token: Duration,
    /// Between two events of the stream.
    pub idle: Duration,
    /// For the whole call.
    pub total: Duration,
}

/// One call of a model. It cannot be made without a reservation: no reservation, no call.
#[derive(Debug, Clone, Copy)]
pub struct ModelCall<'a> {
    /// Which model.
    pub model: &'a ModelName,
    /// The system part; it comes from the definition alone.
    pub system: &'a str,
    /// The conversation.
    pub messages: &'a [Message],
    /// The shape of the answer, where the definition declares outputs.
    pub schema: Option<&'a OutputSchema>,
    /// The tools that the model may ask for.
    pub tools: &'a [ToolSpec],
    /// Tokens of the answer at most; always sent.
    pub tokens_max: u32,
    /// The idempotency key, the same for every retry.
    pub key: &'a CallKey,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// The proof that the worst case of this call fits into every budget.
    pub reservation: &'a Reservation,
}

/// Why a model stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// It was done.
    Complete,
    /// It waits for the results of tools.
    Tools,
    /// It was cut at `tokens_max`.
    Length,
    /// It declines.
    Refusal,
    /// Something else, in the provider's words.
    Other(String),
}

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Text as it comes.
    Text(String),
    /// A complete call of a tool.
    Tool(ToolCall),
    /// The provider's own count. The last one counts; an answer without any is settled at its
    /// reservation.
    Usage(Tokens),
    /// The end; nothing follows.
    End(StopReason),
}

/// Which phase took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallPhase {
    /// Until the connection stands.
    Connect,
    /// Until the first byte of the answer.
    FirstToken,
    /// Between two events of the stream.
    Idle,
    /// The whole call.
    Total,
}

/// Why there is no answer, in the classes that decide what happens next.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// The provider has no capacity (429, 503, 529).
    #[error("the provider is overloaded ({status})")]
    Overloaded {
        /// Its HTTP status.
        status: u16,
        /// What its `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// No connection could be made: the name, the address, the port or the certificate is wrong, or
    /// nobody listens. Not one byte of the request was sent.
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
        /// Tokens asked for, where the provider says so.
        asked: Option<u64>,
        /// Tokens that fit, where known.
        limit: Option<u64>,
    },
    /// The provider says that the request is wrong (other 4xx).
    #[error("the provider refuses the request ({status}): {message}")]
    Rejected {
        /// Its HTTP status.
        status: u16,
        /// Its words, shortened, without a secret.
        message: String,
    },
    /// The provider failed (5xx), or the connection did.
    #[error("the provider failed: {message}")]
    Failed {
        /// Its HTTP status, where there was one.
        status: Option<u16>,
        /// What happened, without a secret.
        message: String,
    },
    /// The answer cannot be read: half an event, garbage, more bytes than allowed.
    #[error("the provider's answer cannot be read: {message}")]
    MalformedResponse {
        /// What was wrong with it.
        message: String,
    },
    /// A phase took too long.
    #[error("the provider took too long ({phase:?})")]
    TimedOut {
        /// Which phase.
        phase: CallPhase,
    },
}

/// An answer as it arrives. Dropping it stops the provider's work.
pub type Deltas = BoxStream<'static, Result<Delta, ModelError>>;

/// A language model's provider.
#[async_trait]
pub trait ModelProvider: Send + Sync {
    /// Its name, as it stands before the dot of a model's name.
    fn name(&self) -> &str;

    /// True if the request leaves this organisation; `deny_external_models` asks.
    fn is_external(&self) -> bool;

    /// Sends the request and answers with the stream of its pieces.
    ///
    /// # Errors
    /// [`ModelError`], if there is no answer at all; later failures come in the stream.
    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError>;
}
