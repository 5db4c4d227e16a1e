//! Signals to runs, whichever pod owns them. The pod that receives a signal has authenticated and authorized it. If it
//! hosts the run, the run's actor records the signal; else the signal is sent as a message, which is confirmed once it is
//! durable, and the owner records it when it reads the message (`super::deliver`).

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::request::SignalRun;
use greenroom_protocol::{Cause, ErrorCode, Reply, RequestId};
use greenroom_registry::runs::RunRecord;
use greenroom_rego::Permitted;

use super::RunEnv;
use super::handle::{RunsHandle, into_reply, status_to_reply};
use super::message::RunMsg;
use super::sent_message::MessageBody;
use super::user_signal::UserSignal;

impl RunsHandle {
    /// Cancels a run, approves or rejects a step that awaits approval, or publishes an event.
    pub async fn signal(&self, permit: Permitted<SignalRun>) -> Reply {
        let id = permit.grant().request_id().clone();
        into_reply(&id, self.try_signal(permit).await)
    }

    async fn try_signal(&self, permit: Permitted<SignalRun>) -> Result<Reply, Cause> {
        let run = permit.request().run.clone();
        let (grant, signal) = UserSignal::from_permit(permit);
        let deadline = grant.deadline();
        let is_shared = self.env().stores.cluster.is_shared();
        if let Some(hosted) = self.find_activating(&run, deadline).await? {
            let sent = signal.clone();
            match self.request_from(&hosted, deadline, |port| RunMsg::Signal(sent, port)).await? {
                // Another pod has claimed the run at this moment.
                Some(Err(cause)) if is_shared && cause.code == ErrorCode::LeaseLost => {}
                Some(result) => return result.map(|status| status_to_reply(&run, status)),
                // Its actor stopped before it read the signal.
                None => {}
            }
        }
        // The store has the status of the run.
        let record = self.record(&run).await?;
        if record.status.is_terminal() {
            let message = format!("the run has ended as {}", record.status.as_str());
            return Err(Cause::new(ErrorCode::RunNotActive, message));
        }
        if record.status == RunStatus::Dead
            && let Some(by) = signal.canceller()
        {
            return self.cancel_dead(&record, by).await;
        }
        self.require_not_dead(&record).await?;
        if is_shared {
            return self.send_signal(&record, grant.request_id(), signal).await;
        }
        let message = format!("the run is not active on this pod; resume it with `greenroom runs resume {run}`");
        Err(Cause::new(ErrorCode::RunNotActive, message))
    }

    /// Sends a signal to the owner of a run, and replies once it is durable. What the run does not accept now is rejected
    /// here; what it does not accept any more when its owner reads the message has no effect.
    async fn send_signal(&self, record: &RunRecord, id: &RequestId, signal: UserSignal) -> Result<Reply, Cause> {
        let RunEnv { stores, clock, .. } = &**self.env();
        let (_, state) = self.replay(&record.run).await?;
        if signal.is_recorded(&state) {
            return Ok(status_to_reply(&record.run, record.status));
        }
        let signal = signal.for_owner();
        let body = MessageBody::Signal(signal.clone()).to_text()?;
        signal.event(&state)?;
        let sent = stores.cluster.send(&record.run, id.as_str(), &body, clock.now()).await;
        match sent.map_err(|error| error.cause())? {
            true => Ok(status_to_reply(&record.run, record.status)),
            false => Err(Cause::new(ErrorCode::RunNotActive, "the run has ended")),
        }
    }
}
