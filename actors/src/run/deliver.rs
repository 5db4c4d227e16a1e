//! Delivers what other pods have sent to runs of this one: the actor of the run records it in the journal, and then the
//! message is removed. A message that is delivered twice has no second effect.

use std::time::Duration;

use greenroom_protocol::{Cause, Deadline, ErrorCode};
use greenroom_registry::cluster::RunMessage;

use super::RunEnv;
use super::handle::RunsHandle;
use super::hosted::HostedRun;
use super::message::RunMsg;
use super::sent_message::MessageBody;

/// Longest wait for the actor of a run to record a message.
const DELIVERY_WAIT_MAX: Duration = Duration::from_secs(5);

impl RunsHandle {
    /// Records a message that another pod has sent to a run of this pod, and removes it then. A message of a run whose
    /// tree is still being resumed is delivered later.
    ///
    /// # Errors
    /// The cause by which it could not be recorded now; it is delivered again.
    pub async fn deliver(&self, message: &RunMessage) -> Result<(), Cause> {
        let RunEnv { stores, clock, .. } = &**self.env();
        let RunMessage { run, id, body, .. } = message;
        let unreadable = |error: serde_json::Error| {
            Cause::new(ErrorCode::Internal, format!("the message {id} of the run {run} cannot be read: {error}"))
        };
        let body = MessageBody::from_text(body).map_err(unreadable)?;
        let deadline = Deadline::after(clock.now(), DELIVERY_WAIT_MAX);
        let recorded = match self.find_activating(run, deadline).await? {
            Some(hosted) => self.record_message(&hosted, body, deadline).await?,
            None => {
                let has_ended = self.record(run).await?.status.is_terminal();
                has_ended.then(|| Err(Cause::new(ErrorCode::RunNotActive, "the run has ended")))
            }
        };
        match recorded {
            Some(Ok(())) => {}
            Some(Err(cause)) if has_no_effect(&cause) => {
                tracing::info!(run.id = %run, request.id = %id, cause = %cause, "a message has no effect any more");
            }
            Some(Err(cause)) => return Err(cause),
            // Its tree is being resumed, or another pod owns it by now.
            None => return Ok(()),
        }
        stores.cluster.remove_message(run, id).await.map_err(|error| error.cause())
    }

    /// Sends a message to the actor of its run; `None` if that has stopped.
    async fn record_message(
        &self,
        hosted: &HostedRun,
        body: MessageBody,
        deadline: Deadline,
    ) -> Result<Option<Result<(), Cause>>, Cause> {
        match body {
            MessageBody::Signal(signal) => {
                let recorded = self.request_from(hosted, deadline, |port| RunMsg::Signal(signal, port)).await?;
                Ok(recorded.map(|recorded| recorded.map(drop)))
            }
            MessageBody::Write(sent) if sent.deadline.has_passed(self.env().clock.now()) => {
                Ok(Some(Err(Cause::new(ErrorCode::TimedOut, "the deadline of the write has passed"))))
            }
            MessageBody::Write(sent) if sent.is_outdated(hosted.tree.fence()) => {
                let message = "an earlier owner of the run has placed the call that writes, and this one repeats it";
                Ok(Some(Err(Cause::new(ErrorCode::RunNotActive, message))))
            }
            MessageBody::Write(sent) => {
                let sent = Box::new(sent);
                let recorded = self.request_from(hosted, deadline, |port| RunMsg::RecordWrite(sent, port)).await?;
                Ok(recorded.map(|recorded| recorded.map(drop)))
            }
        }
    }
}

/// True if the run rejects a message, now and later.
const fn has_no_effect(cause: &Cause) -> bool {
    matches!(
        cause.code,
        ErrorCode::RunNotActive
            | ErrorCode::UnknownStep
            | ErrorCode::UnknownRun
            | ErrorCode::VersionConflict
            | ErrorCode::InvalidInput
            | ErrorCode::PayloadTooLarge
            | ErrorCode::TimedOut
    )
}
