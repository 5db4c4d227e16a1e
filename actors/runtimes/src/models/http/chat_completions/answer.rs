//! The stream of one answer: a timeout for every wait, and exactly one end.

use std::collections::VecDeque;
use std::time::Duration;

use greenroom_actors::model::{CallPhase, Deltas, ModelCall, ModelError};
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

use super::chunk::{ChunkReader, NO_EVENT};
use super::events::{Event, EventReader, malformed};
use crate::models::http::answer_stream::{self, AnswerReader, PendingDeltas};
use crate::models::http::error;

/// Longest wait for the count after the stop reason: a server may leave the connection open and send nothing more.
const COUNT_WAIT_MAX: Duration = Duration::from_secs(5);

/// Reads one answer.
struct ChatAnswer {
    response: Response,
    events: EventReader,
    chunks: ChunkReader,
    pending: PendingDeltas,
    idle: Duration,
    deadline: Instant,
    /// When the wait for the next event ends, and the phase that has then timed out.
    next_event_at: Instant,
    phase: CallPhase,
    is_ended: bool,
}

/// Waits for the first event of the answer, so that a failure that the server reports at once is an error of the call.
///
/// # Errors
/// [`ModelError`] if no answer begins.
pub(super) async fn open(
    response: Response,
    call: &ModelCall<'_>,
    first_event_at: Instant,
    deadline: Instant,
) -> Result<Deltas, ModelError> {
    let reader = ChatAnswer {
        response,
        events: EventReader::new(call.tokens_max),
        chunks: ChunkReader::default(),
        pending: PendingDeltas::new(),
        idle: call.timeouts.idle,
        deadline,
        next_event_at: first_event_at,
        phase: CallPhase::FirstToken,
        is_ended: false,
    };
    answer_stream::open(reader).await
}

impl AnswerReader for ChatAnswer {
    async fn read(&mut self) {
        while self.pending.is_empty() && !self.is_ended {
            let (until, phase) = if self.deadline <= self.next_event_at {
                (self.deadline, CallPhase::Total)
            } else {
                (self.next_event_at, self.phase)
            };
            match timeout_at(until, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.handle_bytes(&bytes),
                Ok(Ok(None)) => self.handle_close(),
                Ok(Err(error)) => self.handle_break(error::from_transport(&error, phase)),
                Err(_elapsed) => self.handle_break(ModelError::TimedOut { phase }),
            }
        }
    }

    fn pending(&mut self) -> &mut PendingDeltas {
        &mut self.pending
    }
}

impl ChatAnswer {
    fn handle_bytes(&mut self, bytes: &[u8]) {
        let mut events = VecDeque::new();
        let pushed = self.events.push(bytes, &mut events);
        if !events.is_empty() {
            self.handle_events(events);
            let wait = if self.chunks.has_stopped() { self.idle.min(COUNT_WAIT_MAX) } else { self.idle };
            (self.next_event_at, self.phase) = (Instant::now() + wait, CallPhase::Idle);
        }
        if let (Err(error), false) = (pushed, self.is_ended) {
            self.fail(error);
        }
    }

    fn handle_events(&mut self, events: VecDeque<Event>) {
        for event in events {
            match event {
                Event::Document(document) => {
                    let mut deltas = VecDeque::new();
                    let read = self.chunks.read(&document, &mut deltas);
                    self.pending.extend(deltas.into_iter().map(Ok));
                    if let Err(error) = read {
                        return self.fail(error);
                    }
                }
                Event::Done => return self.finish(true),
            }
        }
    }

    /// Handles the end of the response. If the server reported why the model stopped, the answer is complete, with or
    /// without a mark of the end.
    fn handle_close(&mut self) {
        let mut events = VecDeque::new();
        let finished = self.events.finish(&mut events);
        self.handle_events(events);
        match (finished, self.events.stray_text()) {
            _ if self.is_ended => {}
            (Ok(()), Some(text)) if !self.chunks.has_part() => self.fail(no_event(text)),
            (Err(error), _) if !self.chunks.has_stopped() => self.fail(error),
            (Ok(()) | Err(_), _) => self.finish(false),
        }
    }

    /// Handles a connection that broke, or that is silent for too long.
    fn handle_break(&mut self, error: ModelError) {
        if self.chunks.has_stopped() { self.finish(false) } else { self.fail(error) }
    }

    fn finish(&mut self, is_marked: bool) {
        let mut deltas = VecDeque::new();
        match self.chunks.finish(is_marked, &mut deltas) {
            Ok(()) => {
                self.pending.extend(deltas.into_iter().map(Ok));
                self.is_ended = true;
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: ModelError) {
        self.pending.extend(self.chunks.take_usage_after_failure().map(Ok));
        self.pending.push_back(Err(error));
        self.is_ended = true;
    }
}

/// The failure of a response that has a text and no event.
fn no_event(text: &str) -> ModelError {
    malformed(format!("{NO_EVENT}: {text}"))
}
