//! The provider that plays a script: for tests and for measuring everything but the model.
//!
//! A script is a list of scenes; a call plays the first scene that fits it and is not used up. Waiting
//! is done by the runtime's timer, so a hundred thousand calls can be held at once, and a paused clock
//! makes a slow model instant.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use greenroom_actors::model::{Delta, Deltas, ModelCall, ModelError, ModelProvider, Part, StopReason, ToolCall};
use greenroom_protocol::{CallKey, Cause, ErrorCode, Json, Tokens};
use serde::{Deserialize, Serialize};

/// The name before the dot of a model's name.
pub const NAME: &str = "scripted";
/// Bytes of a script.
const SCRIPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Calls whose keys are counted one by one; beyond, only their sum is.
const KEYS_MAX: usize = 1_000_000;

/// What is played.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The scenes, in the order in which they are tried.
    pub calls: Vec<ScriptedCall>,
}

/// One answer, and when it is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScriptedCall {
    /// Only for this model, the part behind the dot.
    pub model: Option<String>,
    /// Only if the system part or a message has this text.
    pub contains: Option<String>,
    /// How often it is played; without it, always.
    pub times: Option<u32>,
    /// Milliseconds before the first piece.
    pub delay_ms: u64,
    /// What is played.
    pub reply: ScriptedReply,
    /// The provider's count; without it, none is reported.
    pub usage: Option<Tokens>,
}

/// What a scene plays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScriptedReply {
    /// A text in pieces, with so many milliseconds between them.
    Text {
        /// The pieces.
        pieces: Vec<String>,
        /// Between two pieces.
        #[serde(default)]
        gap_ms: u64,
    },
    /// A JSON value as one text.
    Json(Json),
    /// The values of the answer's schema: empty texts and lists, zero, false.
    Blank,
    /// Asks for a tool.
    Tool {
        /// The call's id.
        id: String,
        /// The tool's name on the wire.
        name: String,
        /// Its arguments.
        arguments: Json,
    },
    /// Declines.
    Refusal,
    /// A text that is cut at the limit of tokens.
    Length(String),
    /// No capacity.
    Overloaded {
        /// What `Retry-After` says.
        #[serde(default)]
        retry_after_ms: Option<u64>,
    },
    /// Fails with this HTTP status.
    Failed {
        /// The status.
        status: u16,
    },
    /// An answer that breaks off after this text.
    Broken(String),
    /// Never answers.
    Silence,
}

impl Default for ScriptedReply {
    fn default() -> Self {
        Self::Text { pieces: vec!["ok".to_owned()], gap_ms: 0 }
    }
}

impl Script {
    /// Reads a script from JSON.
    ///
    /// # Errors
    /// `invalid_configuration`, with what the parser says.
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

    /// A script of one scene that is always played.
    #[must_use]
    pub fn always(hold: Duration, reply: ScriptedReply, usage: Option<Tokens>) -> Self {
        let delay_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
        Self { calls: vec![ScriptedCall { delay_ms, reply, usage, ..ScriptedCall::default() }] }
    }
}

/// What was played so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallStats {
    /// All calls.
    pub calls: u64,
    /// Calls of each key.
    pub by_key: BTreeMap<CallKey, u32>,
    /// The counts that were reported, added up.
    pub tokens: Tokens,
}

#[derive(Debug, Default)]
struct State {
    stats: CallStats,
    used: Vec<u32>,
}

/// The provider. Clones play the same script and count together.
#[derive(Debug, Clone)]
pub struct Scripted {
    script: Arc<Script>,
    state: Arc<Mutex<State>>,
}

impl Scripted {
    /// Opens the provider.
    #[must_use]
    pub fn new(script: Script) -> Self {
        let used = vec![0; script.calls.len()];
        Self { script: Arc::new(script), state: Arc::new(Mutex::new(State { stats: CallStats::default(), used })) }
    }

    /// What was played so far.
    #[must_use]
    pub fn stats(&self) -> CallStats {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stats.clone()
    }

    /// Counts the call and takes the first scene that fits.
    fn next(&self, call: &ModelCall<'_>) -> Option<&ScriptedCall> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { stats: played, used } = &mut *state;
        played.calls += 1;
        if played.by_key.len() < KEYS_MAX || played.by_key.contains_key(call.key) {
            *played.by_key.entry(call.key.clone()).or_default() += 1;
        }
        let (scripted, count) = self
            .script
            .calls
            .iter()
            .zip(used.iter_mut())
            .find(|(scripted, count)| scripted.times.is_none_or(|times| **count < times) && scripted.fits(call))?;
        *count += 1;
        if let Some(usage) = scripted.usage {
            played.tokens += usage;
        }
        Some(scripted)
    }
}

impl ScriptedCall {
    fn fits(&self, call: &ModelCall<'_>) -> bool {
        let said = |wanted: &String| {
            call.system.contains(wanted.as_str())
                || call.messages.iter().flat_map(|message| &message.parts).any(|part| match part {
                    Part::Text(text) | Part::ToolResult { content: text, .. } => text.contains(wanted.as_str()),
                    Part::ToolCall(asked) => asked.name == *wanted,
                })
        };
        self.model.as_ref().is_none_or(|model| *model == call.model.model) && self.contains.as_ref().is_none_or(said)
    }

    /// The pieces of the answer, or why there is none at all.
    fn deltas(&self, schema: Option<&Json>) -> Result<Vec<Result<Delta, ModelError>>, ModelError> {
        let text = |text: &String| Ok(Delta::Text(text.clone()));
        let (mut deltas, stop) = match &self.reply {
            ScriptedReply::Text { pieces, .. } => (pieces.iter().map(text).collect(), StopReason::Complete),
            ScriptedReply::Json(value) => (vec![Ok(Delta::Text(value.to_string()))], StopReason::Complete),
            ScriptedReply::Blank => (vec![Ok(Delta::Text(blank(schema).to_string()))], StopReason::Complete),
            ScriptedReply::Tool { id, name, arguments } => {
                let asked = ToolCall { id: id.clone(), name: name.clone(), arguments: arguments.clone() };
                (vec![Ok(Delta::Tool(asked))], StopReason::Tools)
            }
            ScriptedReply::Refusal => (Vec::new(), StopReason::Refusal),
            ScriptedReply::Length(said) => (vec![text(said)], StopReason::Length),
            ScriptedReply::Broken(said) => {
                let broken = ModelError::MalformedResponse { message: "the answer breaks off".to_owned() };
                return Ok(vec![text(said), Err(broken)]);
            }
            ScriptedReply::Overloaded { retry_after_ms } => {
                let retry_after = retry_after_ms.map(Duration::from_millis);
                return Err(ModelError::Overloaded { status: 429, retry_after });
            }
            ScriptedReply::Failed { status } => {
                return Err(ModelError::Failed { status: Some(*status), message: "as the script says".to_owned() });
            }
            ScriptedReply::Silence => return Ok(Vec::new()),
        };
        deltas.extend(self.usage.map(|usage| Ok(Delta::Usage(usage))));
        deltas.push(Ok(Delta::End(stop)));
        Ok(deltas)
    }

    const fn gap(&self) -> Duration {
        match &self.reply {
            ScriptedReply::Text { gap_ms, .. } => Duration::from_millis(*gap_ms),
            ScriptedReply::Json(_)
            | ScriptedReply::Blank
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

/// The least value that a schema allows.
fn blank(schema: Option<&Json>) -> Json {
    let Some(schema) = schema else { return Json::Object(serde_json::Map::new()) };
    if let Some(first) = schema.get("enum").and_then(Json::as_array).and_then(|all| all.first()) {
        return first.clone();
    }
    let least =
        |name: &str| schema.get(name).and_then(Json::as_u64).and_then(|least| usize::try_from(least).ok()).unwrap_or(0);
    match schema.get("type").and_then(Json::as_str) {
        Some("object") => {
            let properties = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
            Json::Object(properties.map(|(name, schema)| (name.clone(), blank(Some(schema)))).collect())
        }
        Some("array") => Json::Array(
            (0..least("minItems")).map(|_| blank(Some(schema.get("items").unwrap_or(&Json::Null)))).collect(),
        ),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| Json::from(0)),
        Some("boolean") => Json::Bool(false),
        Some("null") => Json::Null,
        Some(_) | None => Json::String(".".repeat(least("minLength"))),
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
        let Some(scripted) = self.next(&call) else {
            return Err(ModelError::Rejected {
                status: 404,
                message: "the script has no scene for this call".to_owned(),
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
        .then(move |(place, delta)| async move {
            if place > 0 {
                tokio::time::sleep(gap).await;
            }
            delta
        })
        .boxed()
}

#[cfg(test)]
mod tests;
