//! genai's stream → deltas, with a bound on every wait and exactly one end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use genai::chat::{ChatStream, ChatStreamEvent, StreamEnd};
use greenroom_actors::model::{CallPhase, Delta, Deltas, ModelError, StopReason, Timeouts, ToolCall};
use greenroom_protocol::{Json, Tokens};
use tokio::time::Instant;

use super::endpoint::Redactor;
use super::error;
use super::frame_meter::{self, FrameMeter};

/// An answer that is being read.
struct AnswerReader {
    events: ChatStream,
    meter: Arc<FrameMeter>,
    waiting: VecDeque<Result<Delta, ModelError>>,
    idle: Duration,
    deadline: Instant,
    scrub: Redactor,
    ended: bool,
}

/// Waits for the first event of the answer, so that a refusal by the server is an error of the call.
///
/// # Errors
/// [`ModelError`], if there is no answer at all.
pub(super) async fn open(
    events: ChatStream,
    meter: Arc<FrameMeter>,
    timeouts: Timeouts,
    deadline: Instant,
    scrub: Redactor,
) -> Result<Deltas, ModelError> {
    let mut reading =
        AnswerReader { events, meter, waiting: VecDeque::new(), idle: timeouts.idle, deadline, scrub, ended: false };
    reading.read(timeouts.first_token, CallPhase::FirstToken).await;
    if let Some(Err(_)) = reading.waiting.front()
        && let Some(Err(error)) = reading.waiting.pop_front()
    {
        return Err(error);
    }
    Ok(futures::stream::unfold(reading, |mut reading| async move {
        let delta = reading.next().await?;
        Some((delta, reading))
    })
    .boxed())
}

impl AnswerReader {
    async fn next(&mut self) -> Option<Result<Delta, ModelError>> {
        if self.waiting.is_empty() && !self.ended {
            self.read(self.idle, CallPhase::Idle).await;
        }
        self.waiting.pop_front()
    }

    /// Reads until there is a delta, an error or the end.
    async fn read(&mut self, bound: Duration, phase: CallPhase) {
        let mut bound = bound;
        let mut phase = phase;
        while self.waiting.is_empty() && !self.ended {
            match self.event(bound, phase).await {
                Ok(Some(ChatStreamEvent::Start)) => continue,
                Ok(Some(event)) => self.take(event),
                Ok(None) => self.broke_off(),
                Err(error) => self.fail(error),
            }
            // A sign of life ends the wait for the first byte.
            (bound, phase) = (self.idle, CallPhase::Idle);
        }
    }

    async fn event(&mut self, bound: Duration, phase: CallPhase) -> Result<Option<ChatStreamEvent>, ModelError> {
        let bounded = Instant::now() + bound;
        let (until, phase) =
            if self.deadline <= bounded { (self.deadline, CallPhase::Total) } else { (bounded, phase) };
        let (meter, events) = (&*self.meter, &mut self.events);
        let read = poll_fn(|task| {
            let polled = events.poll_next_unpin(task);
            if polled.is_pending() {
                meter.record_read();
            }
            polled
        });
        let event = tokio::select! {
            biased;
            fault = meter.wait_fault() => return Err(fault),
            event = tokio::time::timeout_at(until, read) => event,
        };
        let event = match event {
            Err(_) => return Err(ModelError::TimedOut { phase }),
            Ok(None) => None,
            Ok(Some(Ok(event))) => Some(event),
            Ok(Some(Err(error))) => return Err(error::in_stream(&error, phase, &self.scrub)),
        };
        // The meter reads a frame before genai makes an event of it.
        match self.meter.fault() {
            Some(fault) => Err(fault),
            None => Ok(event),
        }
    }

    fn take(&mut self, event: ChatStreamEvent) {
        match event {
            ChatStreamEvent::Chunk(chunk) if !chunk.content.is_empty() => {
                self.waiting.push_back(Ok(Delta::Text(chunk.content)));
            }
            ChatStreamEvent::End(end) => self.finish(end),
            // Thoughts are not the answer, and a call of a tool is passed on when it is whole.
            ChatStreamEvent::Start
            | ChatStreamEvent::Chunk(_)
            | ChatStreamEvent::ReasoningChunk(_)
            | ChatStreamEvent::ThoughtSignatureChunk(_)
            | ChatStreamEvent::ToolCallChunk(_)
            | ChatStreamEvent::Heartbeat => {}
        }
    }

    fn finish(&mut self, end: StreamEnd) {
        let stop = match end.captured_stop_reason.as_ref().map(frame_meter::reason_of).or_else(|| self.meter.finish()) {
            _ if self.meter.refused() => StopReason::Refusal,
            Some(stop) => stop,
            None if self.meter.accepts_end() => StopReason::Complete,
            None => return self.broke_off(),
        };
        let counted = end.captured_usage.as_ref().and_then(counted);
        let calls = end.captured_into_tool_calls().unwrap_or_default();
        // A call that was cut off by the limit of tokens has half its arguments.
        if stop != StopReason::Length {
            for call in calls {
                match arguments(call.fn_arguments) {
                    Some(arguments) => {
                        let call = ToolCall { id: call.call_id, name: call.fn_name, arguments };
                        self.waiting.push_back(Ok(Delta::Tool(call)));
                    }
                    None => {
                        self.emit_usage(counted);
                        return self.fail(garbled("the arguments of a tool are no JSON object"));
                    }
                }
            }
        }
        self.emit_usage(counted);
        self.waiting.push_back(Ok(Delta::End(stop)));
        self.ended = true;
    }

    /// The stream ended without an end. A server that said why the model stopped, and only left out its
    /// last mark, has answered; any other has not.
    fn broke_off(&mut self) {
        match self.meter.finish() {
            Some(stop @ (StopReason::Complete | StopReason::Length | StopReason::Refusal)) => {
                let stop = if self.meter.refused() { StopReason::Refusal } else { stop };
                self.emit_usage(None);
                self.waiting.push_back(Ok(Delta::End(stop)));
                self.ended = true;
            }
            Some(StopReason::Tools | StopReason::Other(_)) | None => self.fail(garbled("the answer broke off")),
        }
    }

    fn fail(&mut self, error: ModelError) {
        self.emit_usage(None);
        self.waiting.push_back(Err(error));
        self.ended = true;
    }

    /// What the provider's own frames say comes before what genai made of it.
    fn emit_usage(&mut self, counted: Option<Tokens>) {
        if let Some(usage) = self.meter.reported_usage().or(counted) {
            self.waiting.push_back(Ok(Delta::Usage(usage)));
        }
    }
}

fn garbled(message: &str) -> ModelError {
    ModelError::MalformedResponse { message: message.to_owned() }
}

/// A count that has both sides; one that lacks a side is none.
fn counted(usage: &genai::chat::Usage) -> Option<Tokens> {
    let input = u64::try_from(usage.prompt_tokens?).ok()?;
    let output = u64::try_from(usage.completion_tokens?).ok()?;
    Some(Tokens { input, output })
}

/// The arguments as an object; genai leaves what it cannot parse as a text.
fn arguments(raw: Json) -> Option<Json> {
    match raw {
        Json::Object(_) => Some(raw),
        Json::Null => Some(Json::Object(serde_json::Map::new())),
        Json::String(text) if text.trim().is_empty() => Some(Json::Object(serde_json::Map::new())),
        Json::String(text) => serde_json::from_str::<Json>(&text).ok().filter(Json::is_object),
        Json::Bool(_) | Json::Number(_) | Json::Array(_) => None,
    }
}
