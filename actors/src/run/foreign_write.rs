//! A write to the context of a run that another pod owns, or that no pod owns at the moment: that of a user, or of the
//! handler of an agent that the owner has placed on this pod. It is sent to the owner as a message; the owner decides it,
//! and its entry in the journal is the reply.

use std::time::Duration;

use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::ContextWrite;
use greenroom_protocol::{Cause, ErrorCode, EventId, Outcome, RequestId, RunId};
use greenroom_registry::journal::Seq;
use greenroom_registry::runs::RunRecord;
use greenroom_rego::{Caller, Grant, Permitted};

use super::RunEnv;
use super::context::{context_put, write_outcome};
use super::handle::RunsHandle;
use super::sent_message::{HandlerWrite, MessageBody, SentWrite};

/// When a write may be repeated that was not recorded: another pod may receive it.
const WRITE_RETRY_AFTER: Duration = Duration::from_millis(50);
/// How long to wait until the owner of a run may have decided a write.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Entries of a journal that one read returns.
const ENTRIES_MAX: u32 = 1_000;

/// What has become of a write that was sent.
enum SentState {
    /// The owner has recorded it in this entry.
    Recorded(Seq),
    /// The owner has rejected it, or the run has ended.
    Rejected,
    /// It waits for the owner.
    Waiting,
}

impl RunsHandle {
    /// Writes a value of the context of a run that is not hosted here.
    ///
    /// # Errors
    /// [`ErrorCode::LeaseLost`] if a run writes it whose tree this pod does not own any more, or an agent that an earlier
    /// owner of the tree has placed here, or if the owner has rejected what it may accept the next time;
    /// [`ErrorCode::VersionConflict`] and the other errors of a write; [`ErrorCode::UnknownRun`] if the run has ended, or
    /// no team was formed for it; [`ErrorCode::OutcomeUnknown`] if no owner has decided it by its deadline.
    pub(super) async fn write_foreign_context(&self, permit: Permitted<ContextWrite>) -> Result<Outcome, Cause> {
        let run = permit.request().run.clone();
        let record = self.foreign_record(&run).await?;
        let handler = handler_write(permit.grant(), &record)?;
        let (grant, write) = permit.redeem();
        let id = match &handler {
            None => EventId::for_request(grant.request_id()),
            // All writes of a key by one call have one request, and the last one decides.
            Some(_) => EventId::for_request(&RequestId::from_u128(self.env().ids.next_id())),
        };
        let deadline = grant.deadline();
        let timeout = deadline.remaining(self.env().clock.now());
        let sending = self.send_write(SentWrite { write, id, deadline, handler });
        tokio::time::timeout(timeout, sending).await.map_err(|_elapsed| undecided_error())?
    }

    /// Sends a write to the owner of its run, and waits until that has decided it. What the run does not accept now is
    /// rejected here.
    async fn send_write(&self, sent: SentWrite) -> Result<Outcome, Cause> {
        let RunEnv { stores, clock, .. } = &**self.env();
        let (run, id, mut after) = (sent.write.run.clone(), sent.id.clone(), Seq(0));
        if let Some(version) = self.find_write(&run, &id, &mut after).await? {
            return Ok(write_outcome(version));
        }
        self.check_foreign_write(&sent).await?;
        let body = MessageBody::Write(sent.clone()).to_text()?;
        match stores.cluster.send(&run, id.as_str(), &body, clock.now()).await {
            Ok(true) => {}
            Ok(false) => return Err(Cause::new(ErrorCode::RunNotActive, "the run has ended")),
            // It may have been sent.
            Err(error) => return Err(Cause::new(ErrorCode::OutcomeUnknown, format!("the write may be sent: {error}"))),
        }
        loop {
            match self.sent_state(&sent, &mut after).await {
                Ok(SentState::Recorded(version)) => return Ok(write_outcome(version)),
                Ok(SentState::Rejected) => return Err(self.rejection(&sent).await),
                // Without the database nothing is known of a write that was sent.
                Ok(SentState::Waiting) | Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
            }
        }
    }

    async fn sent_state(&self, sent: &SentWrite, after: &mut Seq) -> Result<SentState, Cause> {
        let (run, id) = (&sent.write.run, &sent.id);
        // The owner removes the message after the entry is durable, so this is read first.
        let found = self.env().stores.cluster.has_message(run, id.as_str()).await;
        let is_waiting = found.map_err(|error| error.cause())?;
        // The end of the call must find that its handler has written the key, and the owner knows that before it removes
        // the message.
        if is_waiting && sent.handler.is_some() {
            return Ok(SentState::Waiting);
        }
        Ok(match self.find_write(run, id, after).await? {
            Some(version) => SentState::Recorded(version),
            None if is_waiting => SentState::Waiting,
            None => SentState::Rejected,
        })
    }

    /// The number of the entry of a write, if it is one of those after this number, which becomes that of the last entry.
    async fn find_write(&self, run: &RunId, id: &EventId, after: &mut Seq) -> Result<Option<Seq>, Cause> {
        let is_searched = |entry: &Entry| matches!(entry, Entry::ContextChanged { id: Some(found), .. } if found == id);
        loop {
            let records = self.env().stores.journal.read(run, *after, ENTRIES_MAX).await;
            let records = records.map_err(|error| error.cause())?;
            let Some(last) = records.last().map(|record| record.seq) else { return Ok(None) };
            if let Some(found) = records.iter().find(|record| is_searched(&record.entry)) {
                return Ok(Some(found.seq));
            }
            *after = last;
        }
    }

    /// Decides a write as the owner of the run would now.
    async fn check_foreign_write(&self, sent: &SentWrite) -> Result<(), Cause> {
        let record = self.foreign_record(&sent.write.run).await?;
        if sent.is_outdated(record.fence) {
            return Err(repeated_call_error(&record));
        }
        let (data, now) = (self.replay_record(&record).await?, self.env().clock.now());
        data.check(&context_put(sent.write.clone(), now), now).map_err(|error| error.cause())
    }

    /// Why the owner of a run has rejected a write.
    async fn rejection(&self, sent: &SentWrite) -> Cause {
        match self.check_foreign_write(sent).await {
            Ok(()) => {
                let message = "the owner of the run has rejected the write, and may accept it now";
                Cause::new(ErrorCode::LeaseLost, message).with_retry_after(WRITE_RETRY_AFTER)
            }
            Err(cause) => cause,
        }
    }
}

/// The call whose handler writes, `None` for a user. Only the call that an owner of the tree has placed on this pod writes
/// from here.
fn handler_write(grant: &Grant, record: &RunRecord) -> Result<Option<HandlerWrite>, Cause> {
    let fence = match grant.caller() {
        Caller::User { .. } => return Ok(None),
        Caller::Agent { .. } => grant.delegated_fence().filter(|_| grant.root() == Some(&record.root)),
        Caller::Workflow { .. } | Caller::Team { .. } | Caller::None => None,
    };
    let fence = fence.ok_or_else(|| repeated_call_error(record))?;
    Ok(Some(HandlerWrite { request: EventId::for_request(grant.request_id()), fence }))
}

/// The new owner of a tree repeats the call that writes.
fn repeated_call_error(record: &RunRecord) -> Cause {
    let message = format!("the pod {} owns the run `{}`, and repeats its calls", record.pod, record.run);
    Cause::new(ErrorCode::LeaseLost, message).with_retry_after(WRITE_RETRY_AFTER)
}

fn undecided_error() -> Cause {
    let message = "the deadline passed before the owner of the run has confirmed the write; it is not written later, but \
                   may be written already";
    Cause::new(ErrorCode::OutcomeUnknown, message)
}
