//! genai's stream → deltas, with a timeout for every wait and exactly one end.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use genai::chat::{ChatStream, ChatStreamEvent, StreamEnd};
use greenroom_actors::model::{CallPhase, Delta, Deltas, ModelError, StopReason, Timeouts, ToolCall};
use greenroom_definitions::models::TokenCounts;
use tokio::time::Instant;

use super::classify;
use super::frame_meter::FrameMeter;
use crate::models::http::answer_stream::{self, AnswerReader, PendingDeltas};
use crate::models::http::{stop_reason, tool_arguments};

/// Reads one answer.
struct GenaiAnswer {
    events: ChatStream,
    meter: Arc<FrameMeter>,
    pending: PendingDeltas,
    idle: Duration,
    /// The timeout of the wait for the next event, and its phase.
    timeout: Duration,
    phase: CallPhase,
    deadline: Instant,
    is_ended: bool,
}

/// Waits for the first event of the answer, so that a rejection by the server is an error of the call.
///
/// # Errors
/// [`ModelError`] if no answer begins.
pub(super) async fn open(
    events: ChatStream,
    meter: Arc<FrameMeter>,
    timeouts: Timeouts,
    deadline: Instant,
) -> Result<Deltas, ModelError> {
    let reader = GenaiAnswer {
        events,
        meter,
        pending: PendingDeltas::new(),
        idle: timeouts.idle,
        timeout: timeouts.first_token,
        phase: CallPhase::FirstToken,
        deadline,
        is_ended: false,
    };
    answer_stream::open(reader).await
}

impl AnswerReader for GenaiAnswer {
    async fn read(&mut self) {
        while self.pending.is_empty() && !self.is_ended {
            match self.next_event().await {
                Ok(Some(ChatStreamEvent::Start)) => continue,
                Ok(Some(event)) => self.handle_event(event),
                Ok(None) => self.handle_close(),
                // genai reads a blocked prompt as an event without an answer.
                Err(_) if self.meter.has_refusal() => self.handle_close(),
                Err(error) => self.fail(error),
            }
            // The first event ends the wait for the first token.
            (self.timeout, self.phase) = (self.idle, CallPhase::Idle);
        }
    }

    fn pending(&mut self) -> &mut PendingDeltas {
        &mut self.pending
    }
}

impl GenaiAnswer {
    async fn next_event(&mut self) -> Result<Option<ChatStreamEvent>, ModelError> {
        let timeout_at = Instant::now() + self.timeout;
        let (until, phase) =
            if self.deadline <= timeout_at { (self.deadline, CallPhase::Total) } else { (timeout_at, self.phase) };
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
            Ok(Some(Err(error))) => return Err(classify(&error, phase)),
        };
        // The meter sees a frame before genai converts it to an event.
        match self.meter.fault() {
            Some(fault) => Err(fault),
            None => Ok(event),
        }
    }

    fn handle_event(&mut self, event: ChatStreamEvent) {
        match event {
            ChatStreamEvent::Chunk(chunk) if !chunk.content.is_empty() => {
                self.pending.push_back(Ok(Delta::Text(chunk.content)));
            }
            ChatStreamEvent::End(end) => self.finish(end),
            ChatStreamEvent::ReasoningChunk(chunk) if !chunk.content.is_empty() => {
                self.pending.push_back(Ok(Delta::Reasoning));
            }
            // A tool call is passed on when it is complete.
            ChatStreamEvent::Start
            | ChatStreamEvent::Chunk(_)
            | ChatStreamEvent::ReasoningChunk(_)
            | ChatStreamEvent::ThoughtSignatureChunk(_)
            | ChatStreamEvent::ToolCallChunk(_)
            | ChatStreamEvent::Heartbeat => {}
        }
    }

    fn finish(&mut self, end: StreamEnd) {
        let stop = match end
            .captured_stop_reason
            .as_ref()
            .map(|reason| stop_reason::parse(reason.raw()))
            .or_else(|| self.meter.stop_reason())
        {
            _ if self.meter.has_refusal() => StopReason::Refusal,
            Some(stop) => stop,
            None if self.meter.accepts_end() => StopReason::Complete,
            None => return self.handle_close(),
        };
        let usage = end.captured_usage.as_ref().and_then(convert_usage);
        let calls = end.captured_into_tool_calls().unwrap_or_default();
        // A tool call that was truncated at the token limit has incomplete arguments.
        if stop != StopReason::Length {
            for call in calls {
                let arguments = tool_arguments::decode(call.fn_arguments);
                let call = ToolCall { id: call.call_id, name: call.fn_name, arguments };
                self.pending.push_back(Ok(Delta::Tool(call)));
            }
        }
        self.emit_usage(usage);
        self.pending.push_back(Ok(Delta::End(stop)));
        self.is_ended = true;
    }

    /// Handles a stream that closed without an end. If the server reported a stop reason and only omitted the
    /// end marker, the answer is complete; otherwise it is not.
    fn handle_close(&mut self) {
        let stop = if self.meter.has_refusal() { Some(StopReason::Refusal) } else { self.meter.stop_reason() };
        match stop {
            Some(stop @ (StopReason::Complete | StopReason::Length | StopReason::Refusal)) => {
                self.emit_usage(None);
                self.pending.push_back(Ok(Delta::End(stop)));
                self.is_ended = true;
            }
            Some(StopReason::Tools | StopReason::Other(_)) | None => self.fail(malformed("the answer broke off")),
        }
    }

    fn fail(&mut self, error: ModelError) {
        self.emit_usage(None);
        self.pending.push_back(Err(error));
        self.is_ended = true;
    }

    /// Emits the usage. The provider's own frames take precedence over the usage that genai captured.
    fn emit_usage(&mut self, captured: Option<TokenCounts>) {
        if let Some(usage) = self.meter.take_usage().or(captured) {
            self.pending.push_back(Ok(Delta::Usage(usage)));
        }
    }
}

fn malformed(message: &str) -> ModelError {
    ModelError::MalformedResponse { message: message.to_owned() }
}

/// Converts a usage that has both counts; one that lacks a count is ignored. It comes from an API whose frames are not
/// read here, so whether its parts are inside or beside the sums is not known, and they are left out.
fn convert_usage(usage: &genai::chat::Usage) -> Option<TokenCounts> {
    let input = u64::try_from(usage.prompt_tokens?).ok()?;
    let output = u64::try_from(usage.completion_tokens?).ok()?;
    Some(TokenCounts { input, output, ..TokenCounts::default() })
}
