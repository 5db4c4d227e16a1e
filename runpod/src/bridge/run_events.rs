//! The events of a run for one reader. The client's watch is opened again after the newest event that the reader has, when
//! it ends because of a lost connection: no event is lost, and none is passed on twice.

use std::time::Duration;

use futures::StreamExt;
use greenroom_client::{Client, Observation, Observations, TransportError};
use greenroom_protocol::event::{EventNumber, RunEventKind};
use greenroom_protocol::{Cause, ErrorCode, Json, RunId};
use serde_json::json;
use tokio::time::sleep;

use super::sse::SseEvent;

/// Attempts to open a watch again, one after the other, without an event.
const FAILURES_MAX: u32 = 20;
/// The delay before the first of these attempts; it doubles.
const REOPEN_DELAY: Duration = Duration::from_millis(50);
/// The longest delay between two attempts.
const REOPEN_DELAY_MAX: Duration = Duration::from_secs(5);

/// The events of one run.
pub(super) struct RunEvents {
    client: Client,
    run: RunId,
    /// The number of the newest event that the reader has.
    newest: EventNumber,
    observations: Option<Observations>,
    failures: u32,
    is_done: bool,
}

impl RunEvents {
    /// The events after this number.
    pub(super) const fn new(client: Client, run: RunId, after: EventNumber) -> Self {
        Self { client, run, newest: after, observations: None, failures: 0, is_done: false }
    }

    /// The next event; `None` after the last one. Dropping the future loses none.
    ///
    /// # Errors
    /// The cause by which the watch has ended before the run did.
    pub(super) async fn next(&mut self) -> Result<Option<SseEvent>, Cause> {
        while !self.is_done {
            let Self { client, run, newest, observations, .. } = self;
            let observations = observations.get_or_insert_with(|| client.run(&*run).watch_after(*newest));
            match observations.next().await {
                Some(Ok(Observation::Event(event))) => {
                    self.failures = 0;
                    let number = event.number();
                    if number <= self.newest {
                        continue;
                    }
                    self.newest = number;
                    self.is_done = matches!(event.kind, RunEventKind::RunEnded { .. });
                    return numbered(number, serde_json::to_value(event)).map(Some);
                }
                Some(Ok(Observation::Text { id, step, text })) => {
                    return Ok(Some(SseEvent::unnumbered("delta", json!({ "text": text, "step": step, "id": id }))));
                }
                Some(Ok(Observation::Restarted { id, step })) => {
                    return Ok(Some(SseEvent::unnumbered("restarted", json!({ "step": step, "id": id }))));
                }
                Some(Err(error)) => self.reopen(error).await?,
                None => self.is_done = true,
            }
        }
        Ok(None)
    }

    /// Waits until the watch is opened again.
    ///
    /// # Errors
    /// The cause, if another attempt would have the same end, or there were too many.
    async fn reopen(&mut self, error: TransportError) -> Result<(), Cause> {
        self.observations = None;
        self.failures = self.failures.saturating_add(1);
        let is_passing = match &error {
            TransportError::Unreachable { .. } | TransportError::ConnectionLost => true,
            TransportError::Rejected(cause) => cause.code.is_retryable(),
            TransportError::InvalidResponse { .. } => false,
        };
        if !is_passing || self.failures > FAILURES_MAX {
            self.is_done = true;
            return Err(error.into());
        }
        let doublings = self.failures.saturating_sub(1).min(u32::BITS - 1);
        sleep(REOPEN_DELAY.saturating_mul(1 << doublings).min(REOPEN_DELAY_MAX)).await;
        Ok(())
    }
}

/// An event of the run, whose type is that of its JSON.
fn numbered(number: EventNumber, event: serde_json::Result<Json>) -> Result<SseEvent, Cause> {
    let data = event.map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
    let name = data.get("event").and_then(Json::as_str).unwrap_or("unknown").to_owned();
    Ok(SseEvent { id: Some(number), name, data })
}
