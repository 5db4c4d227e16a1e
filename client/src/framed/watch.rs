//! A watch over a link that outlives connections and pods: it is opened again after the newest event that its reader has,
//! when its frames end before the run does, when they cease, and from time to time so that its pod continues to send.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use greenroom_protocol::event::{EventNumber, RunEventKind};
use greenroom_protocol::frame::FrameOrder;
use greenroom_protocol::{Cause, Frame, Reply, RequestHeaders, RunId, Subjects};
use tokio::time::{Instant, sleep, timeout_at};

use super::backoff::Backoff;
use super::exchange::SILENCE_MAX;
use super::link::{FrameStream, Link, Message};
use crate::transport::{Observation, Observations, TransportError};

/// A pod ends a watch that is not renewed.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60);
/// How long a watch is opened again and again without a frame.
const OUTAGE_MAX: Duration = Duration::from_secs(300);

/// What a frame means for the watch.
enum Step {
    /// Nothing for the reader, or the end of the run.
    Wait,
    /// Something for the reader.
    Emit(Observation),
    /// The watch is opened again, after this delay if the pod has named one.
    Reopen(TransportError, Option<Duration>),
    /// The watch ends.
    End(TransportError),
}

/// The watch of one run.
pub(crate) struct RunWatch {
    link: Arc<dyn Link>,
    subjects: Subjects,
    headers: RequestHeaders,
    run: RunId,
    order: FrameOrder,
    frames: Option<FrameStream>,
    renewed_at: Instant,
    /// The time of the newest frame that only a watch has which is permitted.
    received_at: Instant,
    backoff: Backoff,
    is_done: bool,
}

impl RunWatch {
    /// Prepares a watch of the events after this number.
    pub(crate) fn new(
        link: Arc<dyn Link>,
        subjects: Subjects,
        headers: RequestHeaders,
        run: RunId,
        after: EventNumber,
    ) -> Self {
        let now = Instant::now();
        Self {
            link,
            subjects,
            headers,
            run,
            order: FrameOrder::after(after),
            frames: None,
            renewed_at: now,
            received_at: now,
            backoff: Backoff::default(),
            is_done: false,
        }
    }

    /// Streams the observations.
    pub(crate) fn into_stream(self) -> Observations {
        let next = |mut watch: Self| async move {
            let observation = watch.next().await?;
            Ok::<_, TransportError>(observation.map(|observation| (observation, watch)))
        };
        stream::try_unfold(self, next).boxed()
    }

    /// The next observation; `None` after the last event of the run. No frame is in the future while it waits, since there is
    /// one such future for each reader.
    async fn next(&mut self) -> Result<Option<Observation>, TransportError> {
        while !self.is_done {
            let step = match self.receive().await {
                Ok(Some(frame)) => self.read(frame),
                // It is time to renew the watch.
                Ok(None) => {
                    self.frames = None;
                    Step::Wait
                }
                Err(error) => Step::Reopen(error, None),
            };
            match step {
                Step::Wait => {}
                Step::Emit(observation) => return Ok(Some(observation)),
                Step::Reopen(error, requested) => self.reopen(error, requested).await?,
                Step::End(error) => {
                    self.is_done = true;
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// The next frame; `None` if the watch has to be renewed.
    async fn receive(&mut self) -> Result<Option<Frame>, TransportError> {
        let now = Instant::now();
        if self.frames.is_none() {
            let request = self.subjects.of_watch(&self.run, self.order.newest_event());
            let (subject, body) = request.map_err(TransportError::Rejected)?;
            let message = Message { subject, headers: self.headers.clone(), body: body.into() };
            self.frames = Some(self.link.open(message).await?);
            self.renewed_at = now;
        }
        let Some(frames) = self.frames.as_mut() else { return Err(TransportError::ConnectionLost) };
        let renewal = self.renewed_at + RENEWAL_INTERVAL;
        let silence = now + SILENCE_MAX;
        match timeout_at(renewal.min(silence), frames.next()).await {
            Ok(Some(frame)) => frame.map(Some),
            Ok(None) => Err(TransportError::ConnectionLost),
            Err(_elapsed) if renewal <= silence => Ok(None),
            Err(_elapsed) => Err(TransportError::ConnectionLost),
        }
    }

    fn read(&mut self, frame: Frame) -> Step {
        // A pod that works may still refuse the watch. One that is accepted is renewed long before an outage is over.
        if !frame.is_last() && !matches!(frame, Frame::Working { .. }) {
            self.received_at = Instant::now();
        }
        if !self.order.accepts(&frame) {
            return Step::Wait;
        }
        match frame {
            Frame::Event { event, .. } => {
                self.backoff.reset();
                self.is_done = matches!(event.kind, RunEventKind::RunEnded { .. });
                Step::Emit(Observation::Event(Box::new(event)))
            }
            Frame::Delta { id, step: Some(step), text } => Step::Emit(Observation::Text { id, step, text }),
            Frame::Restarted { id, step } => Step::Emit(Observation::Restarted { id, step }),
            Frame::Refused { cause } => on_refusal(cause),
            Frame::Reply { reply } => {
                let Reply { id, error, .. } = *reply;
                match error {
                    Some(cause) if id != self.run.as_str() => on_refusal(cause),
                    // The reply of the run itself: it has no other event.
                    Some(_) | None => {
                        self.is_done = true;
                        Step::Wait
                    }
                }
            }
            Frame::Accepted { .. } | Frame::Delta { step: None, .. } | Frame::Working { .. } | Frame::Unknown => {
                Step::Wait
            }
        }
    }

    /// Waits until the watch is opened again.
    ///
    /// # Errors
    /// The error, if nothing has arrived for too long, or if another attempt would meet the same error.
    async fn reopen(&mut self, error: TransportError, requested: Option<Duration>) -> Result<(), TransportError> {
        self.frames = None;
        let is_passing = match &error {
            TransportError::Unreachable { .. } | TransportError::ConnectionLost => true,
            TransportError::Rejected(cause) => cause.code.is_retryable(),
            TransportError::InvalidResponse { .. } => false,
        };
        if !is_passing || self.received_at.elapsed() >= OUTAGE_MAX {
            self.is_done = true;
            return Err(error);
        }
        sleep(self.backoff.next_delay(requested)).await;
        Ok(())
    }
}

/// Reopens a watch that a pod has refused, if its code says that this may succeed.
fn on_refusal(cause: Cause) -> Step {
    if cause.code.is_retryable() {
        let requested = cause.retry_after_ms.map(Duration::from_millis);
        Step::Reopen(TransportError::Rejected(cause), requested)
    } else {
        Step::End(TransportError::Rejected(cause))
    }
}

#[cfg(test)]
mod tests;
