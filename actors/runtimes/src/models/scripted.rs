//! The provider that replies by a script, for tests and for benchmarks of everything but the model.
//!
//! A script is a list of calls; each real call takes the first entry that matches and is not used up. Delays
//! use tokio's timer, so that a hundred thousand calls can wait concurrently, and a paused clock makes a slow
//! model instant.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use greenroom_actors::model::{Delta, Deltas, ModelCall, ModelError, ModelProvider, Part, StopReason, ToolCall};
use greenroom_protocol::{Cause, ErrorCode, Json, Tokens};
use serde::{Deserialize, Serialize};

mod schema_answer;

use schema_answer::{blank, filled};

/// The name before the dot of a model's name.
pub const NAME: &str = "scripted";
/// Maximum size of a script.
const SCRIPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A script.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The scripted calls, in the order in which they are tried.
    pub calls: Vec<ScriptedCall>,
}

/// One reply, and the calls that it applies to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScriptedCall {
    /// Only calls of this model, named without its provider.
    pub model: Option<String>,
    /// Only calls whose system part or messages contain this text.
    pub contains: Option<String>,
    /// Maximum uses; unlimited if absent.
    pub times: Option<u32>,
    /// Delay before the first delta, in milliseconds.
    pub delay_ms: u64,
    /// The reply.
    pub reply: ScriptedReply,
    /// The reported usage; none if absent.
    pub usage: Option<Tokens>,
}

/// The reply to a scripted call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScriptedReply {
    /// A text in pieces.
    Text {
        /// The pieces.
        pieces: Vec<String>,
        /// Delay between two pieces, in milliseconds.
        #[serde(default)]
        gap_ms: u64,
    },
    /// A JSON value as one text.
    Json(Json),
    /// The smallest value that the schema of the answer allows: empty texts and lists, zero, false.
    Blank,
    /// A value that the schema of the answer allows, with every property, and with something in each text and list.
    Filled,
    /// A tool call.
    Tool {
        /// The call's id.
        id: String,
        /// The name of the tool in the model request.
        name: String,
        /// Its arguments.
        arguments: Json,
    },
    /// The model declines.
    Refusal,
    /// A text that is truncated at the token limit.
    Length(String),
    /// The provider has no capacity.
    Overloaded {
        /// The delay of `Retry-After`, in milliseconds.
        #[serde(default)]
        retry_after_ms: Option<u64>,
    },
    /// The provider fails with this HTTP status.
    Failed {
        /// The status.
        status: u16,
    },
    /// An answer that ends after this text with an error.
    Broken(String),
    /// The provider never answers.
    Silence,
}

impl Default for ScriptedReply {
    fn default() -> Self {
        Self::Text { pieces: vec!["ok".to_owned()], gap_ms: 0 }
    }
}

impl Script {
    /// Parses a script from JSON.
    ///
    /// # Errors
    /// `invalid_configuration`, with the message of the parser.
    pub fn from_json(text: &str) -> Result<Self, Cause> {
        if text.len() > SCRIPT_BYTES_MAX {
            return Err(Cause::new(
                ErrorCode::InvalidConfiguration,
                format!("a script has at most {SCRIPT_BYTES_MAX} bytes"),
            ));
        }
        serde_json::from_str(text)
            .map_err(|error| Cause::new(ErrorCode::InvalidConfiguration, format!("the script cannot be read: {error}")))
    }

    /// Creates a script that replies the same to every call.
    #[must_use]
    pub fn always(delay: Duration, reply: ScriptedReply, usage: Option<Tokens>) -> Self {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Self { calls: vec![ScriptedCall { delay_ms, reply, usage, ..ScriptedCall::default() }] }
    }
}

/// The calls so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallStats {
    /// All calls.
    pub calls: u64,
    /// The sum of the reported usage.
    pub tokens: Tokens,
}

#[derive(Debug, Default)]
struct State {
    stats: CallStats,
    used: Vec<u32>,
}

/// The provider. Clones share the script and the statistics.
#[derive(Debug, Clone)]
pub struct Scripted {
    script: Arc<Script>,
    state: Arc<Mutex<State>>,
}

impl Scripted {
    /// Creates the provider.
    #[must_use]
    pub fn new(script: Script) -> Self {
        let used = vec![0; script.calls.len()];
        Self { script: Arc::new(script), state: Arc::new(Mutex::new(State { stats: CallStats::default(), used })) }
    }

    /// The calls so far.
    #[must_use]
    pub fn stats(&self) -> CallStats {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stats
    }

    /// Counts the call and takes the first entry that matches.
    fn take_reply(&self, call: &ModelCall<'_>) -> Option<&ScriptedCall> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { stats, used } = &mut *state;
        stats.calls += 1;
        let (scripted, count) =
            self.script.calls.iter().zip(used.iter_mut()).find(|(scripted, count)| {
                scripted.times.is_none_or(|times| **count < times) && scripted.matches(call)
            })?;
        *count += 1;
        if let Some(usage) = scripted.usage {
            stats.tokens += usage;
        }
        Some(scripted)
    }
}

impl ScriptedCall {
    fn matches(&self, call: &ModelCall<'_>) -> bool {
        let contains = |expected: &String| {
            call.system.contains(expected.as_str())
                || call.messages.iter().flat_map(|message| &message.parts).any(|part| match part {
                    Part::Text(text) | Part::ToolResult { content: text, .. } => text.contains(expected.as_str()),
                    Part::ToolCall(tool_call) => tool_call.name == *expected,
                })
        };
        self.model.as_ref().is_none_or(|model| *model == call.model.model)
            && self.contains.as_ref().is_none_or(contains)
    }

    /// The deltas of the answer, or the error of the call.
    fn deltas(&self, schema: Option<&Json>) -> Result<Vec<Result<Delta, ModelError>>, ModelError> {
        let text = |text: &String| Ok(Delta::Text(text.clone()));
        let (mut deltas, stop) = match &self.reply {
            ScriptedReply::Text { pieces, .. } => (pieces.iter().map(text).collect(), StopReason::Complete),
            ScriptedReply::Json(value) => (vec![Ok(Delta::Text(value.to_string()))], StopReason::Complete),
            ScriptedReply::Blank => (vec![Ok(Delta::Text(blank(schema).to_string()))], StopReason::Complete),
            ScriptedReply::Filled => (vec![Ok(Delta::Text(filled(schema).to_string()))], StopReason::Complete),
            ScriptedReply::Tool { id, name, arguments } => {
                let tool_call = ToolCall { id: id.clone(), name: name.clone(), arguments: arguments.clone() };
                (vec![Ok(Delta::Tool(tool_call))], StopReason::Tools)
            }
            ScriptedReply::Refusal => (Vec::new(), StopReason::Refusal),
            ScriptedReply::Length(content) => (vec![text(content)], StopReason::Length),
            ScriptedReply::Broken(content) => {
                let broken = ModelError::MalformedResponse { message: "the answer broke off".to_owned() };
                return Ok(vec![text(content), Err(broken)]);
            }
            ScriptedReply::Overloaded { retry_after_ms } => {
                let retry_after = retry_after_ms.map(Duration::from_millis);
                return Err(ModelError::Overloaded { status: 429, retry_after });
            }
            ScriptedReply::Failed { status } => {
                return Err(ModelError::Failed { status: Some(*status), message: "as scripted".to_owned() });
            }
            ScriptedReply::Silence => return Ok(Vec::new()),
        };
        deltas.extend(self.usage.map(|usage| Ok(Delta::Usage(usage.into()))));
        deltas.push(Ok(Delta::End(stop)));
        Ok(deltas)
    }

    const fn gap(&self) -> Duration {
        match &self.reply {
            ScriptedReply::Text { gap_ms, .. } => Duration::from_millis(*gap_ms),
            ScriptedReply::Json(_)
            | ScriptedReply::Blank
            | ScriptedReply::Filled
            | ScriptedReply::Tool { .. }
            | ScriptedReply::Refusal
            | ScriptedReply::Length(_)
            | ScriptedReply::Overloaded { .. }
            | ScriptedReply::Failed { .. }
            | ScriptedReply::Broken(_)
            | ScriptedReply::Silence => Duration::ZERO,
        }
    }
}

#[async_trait]
impl ModelProvider for Scripted {
    fn name(&self) -> &str {
        NAME
    }

    fn is_external(&self) -> bool {
        false
    }

    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError> {
        let Some(scripted) = self.take_reply(&call) else {
            return Err(ModelError::Rejected {
                status: 404,
                message: "the script has no reply to this call".to_owned(),
            });
        };
        if scripted.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(scripted.delay_ms)).await;
        }
        let deltas = scripted.deltas(call.schema.map(|schema| &*schema.schema))?;
        if deltas.is_empty() {
            return Ok(futures::stream::pending().boxed());
        }
        Ok(paced(deltas, scripted.gap()))
    }
}

fn paced(deltas: Vec<Result<Delta, ModelError>>, gap: Duration) -> BoxStream<'static, Result<Delta, ModelError>> {
    let stream = futures::stream::iter(deltas);
    if gap.is_zero() {
        return stream.boxed();
    }
    stream
        .enumerate()
        .then(move |(index, delta)| async move {
            if index > 0 {
                tokio::time::sleep(gap).await;
            }
            delta
        })
        .boxed()
}

#[cfg(test)]
mod tests;
