//! A model that calls a tool with its input and then returns what the tool has returned. It measures the time from the end
//! of its answer, which calls the tool, until it is called with the result.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use greenroom_actors::model::{Delta, Deltas, ModelCall, ModelError, ModelProvider, Part, StopReason, ToolCall};
use greenroom_protocol::Json;
use serde_json::json;

/// A text with this beginning is no input of a tool: the model calls one that does not exist, which the pod reports to it
/// without a request.
pub(super) const NO_TOOL: &str = "none/";

/// What one execution has measured.
#[derive(Default)]
struct Measurement {
    /// The end of the answer that calls the tool.
    ended_at: Option<Instant>,
    /// From there until the next call of the model.
    elapsed: Option<Duration>,
}

/// The model. It serves one execution after the other.
#[derive(Clone, Default)]
pub(super) struct ToolCallingModel(Arc<Mutex<Measurement>>);

impl ToolCallingModel {
    /// The time of the last execution.
    pub(super) fn take_elapsed(&self) -> Option<Duration> {
        self.update(|measurement| measurement.elapsed.take())
    }

    fn update<T>(&self, change: impl FnOnce(&mut Measurement) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The answer that calls a tool. Its end is produced when everything before it was read.
    fn tool_call(&self, name: String, text: &str) -> Deltas {
        let call = ToolCall { id: "call_1".to_owned(), name, arguments: json!({ "text": text }) };
        let model = self.clone();
        let end = stream::once(async move {
            model.update(|measurement| measurement.ended_at = Some(Instant::now()));
            Ok(Delta::End(StopReason::Tools))
        });
        stream::iter([Ok(Delta::Tool(call))]).chain(end).boxed()
    }
}

/// The answer with the outputs of the agent.
fn outputs(text: &Json) -> Deltas {
    let outputs = json!({ "text": text }).to_string();
    stream::iter([Ok(Delta::Text(outputs)), Ok(Delta::End(StopReason::Complete))]).boxed()
}

#[async_trait]
impl ModelProvider for ToolCallingModel {
    // Definitions may name it.
    fn name(&self) -> &str {
        greenroom_runtimes::models::scripted::NAME
    }

    fn is_external(&self) -> bool {
        false
    }

    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError> {
        let called_at = Instant::now();
        let text = call.inputs.get("text").and_then(Json::as_str).unwrap_or_default();
        let result = call.messages.iter().flat_map(|message| &message.parts).find_map(|part| match part {
            Part::ToolResult { content, is_error, .. } => Some((content.as_str(), *is_error)),
            Part::Text(_) | Part::ToolCall(_) => None,
        });
        let tool = call.tools.first().map(|tool| tool.name.clone());
        let is_without_tool = text.starts_with(NO_TOOL);
        let Some((content, is_error)) = result else {
            let name = tool.filter(|_| !is_without_tool).unwrap_or_else(|| "no_tool".to_owned());
            return Ok(self.tool_call(name, text));
        };
        self.update(|measurement| {
            measurement.elapsed = measurement.ended_at.take().map(|ended_at| called_at.duration_since(ended_at));
        });
        // Whatever is returned instead of the text is compared with it by the caller.
        let returned = match (is_without_tool, is_error) {
            (true, true) => json!(text),
            (true, false) | (false, true) => json!(content),
            (false, false) => serde_json::from_str(content).unwrap_or_default(),
        };
        Ok(outputs(&returned))
    }
}
