//! The writer's commands for the audit.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::audit::Event;
use protocol::{Clock, Timestamp};

use crate::audit::chain::{ChainTip, EventJson};
use crate::audit::head::HeadKind;
use crate::audit::{AuditSeq, EntrySubject, OpenAuditEntry};
use crate::error::StoreError;
use crate::group_commit::{CommitTiming, LINGER};
use crate::sqlite::audit::chain::{CloseEntry, UPSERT_HEAD, append_closing};
use crate::sqlite::command::WriteCommand;
use crate::sqlite::commit::Commit;
use crate::sqlite::handle::WriterQueue;
use crate::sqlite::statement_batch::to_int;
use crate::sqlite::writer_state::WriterState;

/// Opens an entry.
pub(super) struct OpenEntry {
    pub(super) event: EventJson,
    pub(super) subject: EntrySubject,
    pub(super) at: Timestamp,
    pub(super) timing: CommitTiming,
    /// The queue for the closing of an entry that is dropped before it is closed.
    pub(super) queue: WriterQueue,
}

impl WriteCommand for OpenEntry {
    type Output = OpenAuditEntry;
    type Error = StoreError;

    fn max_delay(&self) -> Duration {
        self.timing.max_delay()
    }

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<OpenAuditEntry, StoreError> {
        let Self { event, subject, at, timing: _, queue } = self;
        let number = state.chain.append(&event, Some(&subject), at, &mut commit.audit, &mut commit.statements);
        commit.audit.opened.push(number);
        let on_drop = interrupt_on_drop(queue, state.shared.clock.clone(), subject.clone());
        Ok(OpenAuditEntry::new(AuditSeq(number), subject, at, Some(on_drop)))
    }
}

/// Closes an entry as interrupted when its handle is dropped.
fn interrupt_on_drop(queue: WriterQueue, clock: Arc<dyn Clock>, subject: EntrySubject) -> crate::audit::OnDrop {
    Box::new(move |opened: AuditSeq| {
        let event = EventJson::from_event(&Event::Interrupted { opened: opened.0 }).map_err(StoreError::from);
        let submitted = event.and_then(|event| queue.try_send(CloseEntry { opened, event, subject, at: clock.now() }));
        if let Err(error) = submitted {
            tracing::warn!(
                audit.opened = opened.0,
                error = %error,
                "a dropped audit entry remains open until the next start"
            );
        }
    })
}

impl WriteCommand for CloseEntry {
    type Output = ();
    type Error = StoreError;

    fn max_delay(&self) -> Duration {
        LINGER
    }

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        append_closing(&mut state.chain, self, &mut commit.audit, &mut commit.statements);
        Ok(())
    }

    /// The next commit writes it.
    fn on_rejected(self, state: &mut WriterState) {
        state.unwritten_closings.push(self);
    }
}

/// Records an event of the platform itself.
pub(super) struct RecordSystemEvent {
    pub(super) event: EventJson,
    pub(super) at: Timestamp,
}

impl WriteCommand for RecordSystemEvent {
    type Output = AuditSeq;
    type Error = StoreError;

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<AuditSeq, StoreError> {
        let number = state.chain.append(&self.event, None, self.at, &mut commit.audit, &mut commit.statements);
        Ok(AuditSeq(number))
    }
}

/// Removes the records up to one that is older than every open entry, and replaces them by a signed anchor.
pub(super) struct PruneAudit {
    pub(super) through: ChainTip,
    /// The record of the pruning, written together with its first piece.
    pub(super) event: Option<EventJson>,
    pub(super) now: Timestamp,
}

impl WriteCommand for PruneAudit {
    type Output = ();
    type Error = StoreError;

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        let Self { through, event, now } = self;
        let anchor = serde_json::to_string(&state.signer.sign(HeadKind::Anchor, through, now))?;
        let number = to_int(through.number);
        commit.statements.add("DELETE FROM audit WHERE number <= ?", vec![number.into()]);
        commit.statements.add("DELETE FROM audit_heads WHERE number < ?", vec![number.into()]);
        commit.statements.add(UPSERT_HEAD, vec![number.into(), 1_i64.into(), anchor.into()]);
        if let Some(event) = event {
            state.chain.append(&event, None, now, &mut commit.audit, &mut commit.statements);
        }
        Ok(())
    }
}
