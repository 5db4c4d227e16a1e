//! One request over a link, from its first message to its reply. It is sent again, with the same name and idempotency key, if
//! no pod accepts it, if its pod falls silent, and if the code of the reply says that a repetition may succeed; all of that
//! until its deadline.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use greenroom_protocol::frame::FrameOrder;
use greenroom_protocol::request::{ContextWrite, Request};
use greenroom_protocol::{Cause, ErrorCode, Frame, Metadata, Reply, Status, Values, WrittenVersion};
use tokio::time::{Instant, sleep, timeout_at};

use super::backoff::Backoff;
use super::link::{FrameStream, Link, Message};
use crate::transport::{Progress, ProgressStream, TransportError};

/// A pod accepts within a second; without a frame for this long, the message is lost.
const FIRST_FRAME_WAIT: Duration = Duration::from_secs(3);
/// A pod sends a frame every ten seconds; without one for this long, it is lost.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(25);
/// How long a caller waits after its deadline for the reply that says so.
const GRACE: Duration = Duration::from_secs(2);
/// The longest delay after an attempt that no pod received. It costs a server one message, and a pod that starts serves
/// within a second.
const UNREACHED_DELAY_MAX: Duration = Duration::from_millis(500);
/// Executions of a request that fail in a way that passes. Requests that were not executed are not counted.
const EXECUTIONS_MAX: u32 = 3;

/// One request.
pub(crate) struct Exchange {
    link: Arc<dyn Link>,
    message: Message,
    /// True if a repetition has no second effect.
    is_repeatable: bool,
    ends_at: Instant,
    frames: Option<FrameStream>,
    order: FrameOrder,
    /// A frame has arrived since the message was sent last.
    is_accepted: bool,
    /// Text was passed to the caller that a repetition makes void.
    has_text: bool,
    executions: u32,
    backoff: Backoff,
    is_done: bool,
}

/// What a frame, or its absence, means.
enum Step {
    /// Nothing for the caller.
    Wait,
    /// Something for the caller, and more follows.
    Emit(Progress),
    /// The end of this attempt.
    End(Outcome),
}

/// The end of a request, or of one of its attempts.
type Outcome = Result<Box<Reply>, TransportError>;

impl Exchange {
    /// Prepares a message of this request, whose caller waits for this long.
    pub(crate) fn new(link: Arc<dyn Link>, message: Message, is_repeatable: bool, timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            link,
            message,
            is_repeatable,
            // A timeout has a bound, so that the sum has one.
            ends_at: now.checked_add(timeout).unwrap_or(now),
            frames: None,
            order: FrameOrder::default(),
            is_accepted: false,
            has_text: false,
            executions: 0,
            backoff: Backoff::default(),
            is_done: false,
        }
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived.
    pub(crate) async fn reply(mut self) -> Result<Reply, TransportError> {
        while let Some(progress) = self.next().await? {
            if let Progress::Reply(reply) = progress {
                return Ok(*reply);
            }
        }
        Err(TransportError::ConnectionLost)
    }

    /// Streams the progress.
    pub(crate) fn into_stream(self) -> ProgressStream {
        let next = |mut exchange: Self| async move {
            let progress = exchange.next().await?;
            Ok::<_, TransportError>(progress.map(|progress| (progress, exchange)))
        };
        stream::try_unfold(self, next).boxed()
    }

    /// The next item for the caller; `None` after the reply.
    async fn next(&mut self) -> Result<Option<Progress>, TransportError> {
        while !self.is_done {
            let step = match self.receive().await {
                Ok(frame) => self.read(frame),
                Err(error) => Step::End(Err(error)),
            };
            match step {
                Step::Wait => {}
                Step::Emit(progress) => return Ok(Some(progress)),
                Step::End(result) => {
                    if let Some(delay) = self.retry_delay(&result) {
                        self.frames = None;
                        sleep(delay).await;
                        if std::mem::take(&mut self.has_text) {
                            return Ok(Some(Progress::Restarted));
                        }
                    } else {
                        self.is_done = true;
                        return self.outcome(result).map(|reply| Some(Progress::Reply(reply)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The next frame; the message is sent if it has to be.
    async fn receive(&mut self) -> Result<Frame, TransportError> {
        if self.frames.is_none() {
            let remaining = self.ends_at.saturating_duration_since(Instant::now());
            let opening = self.link.open(self.message.with_timeout(remaining));
            let opened =
                timeout_at(self.ends_at, opening).await.map_err(|_elapsed| TransportError::ConnectionLost)??;
            self.frames = Some(opened);
            self.is_accepted = false;
            // Another pod numbers its frames anew.
            self.order = FrameOrder::default();
        }
        let Some(frames) = self.frames.as_mut() else { return Err(TransportError::ConnectionLost) };
        let silence_max = if self.is_accepted { SILENCE_MAX } else { FIRST_FRAME_WAIT };
        let until = (Instant::now() + silence_max).min(self.ends_at + GRACE);
        match timeout_at(until, frames.next()).await {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(_) => Err(TransportError::ConnectionLost),
        }
    }

    fn read(&mut self, frame: Frame) -> Step {
        self.is_accepted = true;
        if !self.order.accepts(&frame) {
            return Step::Wait;
        }
        match frame {
            Frame::Accepted { pod, run, version: _ } => Step::Emit(Progress::Accepted { pod, run }),
            Frame::Delta { text, .. } => {
                self.has_text = true;
                Step::Emit(Progress::Text(text))
            }
            Frame::Restarted { .. } => {
                self.has_text = false;
                Step::Emit(Progress::Restarted)
            }
            Frame::Reply { reply } => Step::End(Ok(reply)),
            Frame::Refused { cause } => Step::End(Ok(self.rejection(cause))),
            Frame::Event { .. } | Frame::Working { .. } | Frame::Unknown => Step::Wait,
        }
    }

    /// The delay after which the request is sent again; `None` if this is its end.
    fn retry_delay(&mut self, result: &Outcome) -> Option<Duration> {
        let requested = match result {
            Ok(reply) => {
                let cause = reply.error.as_ref().filter(|cause| cause.code.is_retryable())?;
                if !is_not_executed(cause) {
                    self.executions = self.executions.saturating_add(1);
                    if !self.is_repeatable || self.executions >= EXECUTIONS_MAX {
                        return None;
                    }
                }
                cause.retry_after_ms.map(Duration::from_millis)
            }
            // Nothing was executed.
            Err(TransportError::Unreachable { .. }) => None,
            Err(TransportError::ConnectionLost) if self.is_repeatable => None,
            Err(
                TransportError::ConnectionLost | TransportError::InvalidResponse { .. } | TransportError::Rejected(_),
            ) => return None,
        };
        let mut delay = self.backoff.next_delay(requested);
        if matches!(result, Err(TransportError::Unreachable { .. })) {
            delay = delay.min(UNREACHED_DELAY_MAX);
        }
        let is_in_time = Instant::now().checked_add(delay).is_some_and(|at| at < self.ends_at);
        is_in_time.then_some(delay)
    }

    /// The result for the caller. A request that is still without a reply at its deadline has timed out.
    fn outcome(&self, result: Outcome) -> Outcome {
        match result {
            Err(TransportError::ConnectionLost) if Instant::now() >= self.ends_at => {
                let message = "no reply arrived before the deadline; the request may have been executed";
                Ok(self.rejection(Cause::new(ErrorCode::TimedOut, message)))
            }
            Ok(_)
            | Err(
                TransportError::ConnectionLost
                | TransportError::Unreachable { .. }
                | TransportError::InvalidResponse { .. }
                | TransportError::Rejected(_),
            ) => result,
        }
    }

    /// A reply without an execution.
    fn rejection(&self, cause: Cause) -> Box<Reply> {
        Box::new(Reply {
            id: self.message.headers.request_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            status: Status::from_cause(&cause),
            outputs: Values::new(),
            error: Some(cause),
            metadata: Metadata::default(),
            protocol_version: WrittenVersion::OWN,
        })
    }
}

/// True if a pod has rejected the request before it executed anything.
const fn is_not_executed(cause: &Cause) -> bool {
    matches!(cause.code, ErrorCode::Overloaded | ErrorCode::ShuttingDown)
}

/// True if a request may have an idempotency key. A write to a context needs the version that its writer expects.
pub(crate) const fn takes_key(request: &Request) -> bool {
    match request {
        Request::ContextWrite(ContextWrite { expect, .. }) => expect.is_some(),
        Request::Invoke(_)
        | Request::StartRun(_)
        | Request::StartTeam(_)
        | Request::SignalRun(_)
        | Request::ResumeRun(_)
        | Request::MemoryWrite(_)
        | Request::CallTool(_)
        | Request::Maintain(_) => true,
        Request::ContextRead(_) | Request::MemoryRead(_) | Request::Query(_) => false,
    }
}

#[cfg(test)]
mod tests;
