//! A unit in the queue of the writer, and its decision: every request of the unit is checked before the first
//! one is applied, so that all of them are taken or none.

use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::Timestamp;
use protocol::audit::Event;

use crate::audit::chain::EventJson;
use crate::audit::{AuditSeq, EntrySubject, OpenAuditEntry};
use crate::core::{Receipts, Unit, UnitError};
use crate::error::StoreError;
use crate::group_commit::{BatchCommand, ReplySender};
use crate::idempotency::StoredKey;
use crate::ledger::Settled;
use crate::ledger::reservation::SettlementRecord;
use crate::sqlite::audit::chain::{CloseEntry, append_closing};
use crate::sqlite::command::{Needs, QueuedCommand};
use crate::sqlite::commit::Commit;
use crate::sqlite::handle::WriterQueue;
use crate::sqlite::writer_state::WriterState;

use keys::{BeginKey, CompleteKey};
use reserve::Reserve;
use run::ChangeRun;

pub(super) mod keys;
mod reserve;
mod run;

/// A unit as the writer decides it. Its texts are encoded, so that the one writer has less to do.
pub(super) struct QueuedUnit {
    at: Timestamp,
    max_delay: Duration,
    run: Option<ChangeRun>,
    key: Option<BeginKey>,
    reserve: Option<Reserve>,
    opening: Option<(EventJson, EntrySubject)>,
    event: Option<EventJson>,
    closing: Option<CloseEntry>,
    settled: Vec<SettlementRecord>,
    key_reply: Option<CompleteKey>,
    /// For what follows if a permit is dropped.
    queue: WriterQueue,
    reply: Option<ReplySender<Receipts, UnitError>>,
}

impl QueuedUnit {
    /// Encodes a unit.
    pub(super) fn encode(unit: Unit<'_>, max_delay: Duration, queue: WriterQueue) -> Result<Self, StoreError> {
        let Unit {
            at,
            run,
            key,
            reserve,
            ticket,
            opening,
            event,
            closing,
            settled,
            key_reply,
            tree: _,
            outlasts_outage: _,
        } = unit;
        let opening = match opening {
            Some(opening) => {
                let subject = EntrySubject::from_opening(&opening);
                Some((EventJson::from_event(&Event::Opened(opening))?, subject))
            }
            None => None,
        };
        let closing = match closing {
            Some((mut entry, closing)) => {
                let opened = entry.opened();
                let event = EventJson::from_event(&Event::Closed { opened: opened.0, closing })?;
                entry.disarm();
                Some(CloseEntry { opened, event, subject: entry.subject().clone(), at })
            }
            None => None,
        };
        Ok(Self {
            at,
            max_delay,
            run: run.map(ChangeRun::encode).transpose()?,
            key: key.map(BeginKey::encode),
            reserve: reserve.map(|request| Reserve::encode(request, ticket)),
            opening,
            event: event.as_ref().map(EventJson::from_event).transpose()?,
            closing,
            settled: settled.into_iter().filter_map(Settled::into_record).collect(),
            key_reply: key_reply.map(CompleteKey::encode).transpose()?,
            queue,
            reply: None,
        })
    }

    /// The same unit, for a caller that waits for its receipts.
    pub(super) fn with_reply(self, reply: ReplySender<Receipts, UnitError>) -> Self {
        Self { reply: Some(reply), ..self }
    }

    /// A unit without changes.
    fn empty(at: Timestamp, queue: WriterQueue) -> Self {
        Self {
            at,
            max_delay: crate::group_commit::LINGER,
            run: None,
            key: None,
            reserve: None,
            opening: None,
            event: None,
            closing: None,
            settled: Vec::new(),
            key_reply: None,
            queue,
            reply: None,
        }
    }

    /// Closes an entry as interrupted, because its permit was dropped.
    fn interrupting(closing: CloseEntry, queue: WriterQueue) -> Self {
        let at = closing.at;
        Self { closing: Some(closing), ..Self::empty(at, queue) }
    }

    /// Releases a key, because its permit was dropped.
    fn releasing(key: StoredKey, at: Timestamp, queue: WriterQueue) -> Self {
        Self { key_reply: Some(CompleteKey::release(key)), ..Self::empty(at, queue) }
    }

    /// Drops everything but the consequences, because no caller waits for the requests.
    fn drop_requests(&mut self) {
        self.run = None;
        self.key = None;
        self.reserve = None;
        self.opening = None;
        self.event = None;
    }

    /// Checks every request; what is reserved last is set aside.
    fn check(&mut self, state: &WriterState, commit: &Commit) -> Result<(), UnitError> {
        if let Some(run) = &self.run {
            run.check(self.at, state, commit)?;
        }
        if let Some(key) = &self.key {
            key.check(commit)?;
        }
        if let Some(reserve) = &mut self.reserve {
            reserve.check(state, self.at)?;
        }
        Ok(())
    }
}

impl BatchCommand for QueuedUnit {
    fn max_delay(&self) -> Duration {
        self.max_delay
    }
}

impl QueuedCommand for QueuedUnit {
    fn add_needs<'c>(&'c self, needs: &mut Needs<'c>) {
        if let Some(run) = &self.run {
            run.add_needs(needs);
        }
        needs.keys.extend(self.key.as_ref().map(BeginKey::stored));
        needs.keys.extend(self.key_reply.as_ref().map(CompleteKey::stored));
    }

    fn apply(mut self: Box<Self>, state: &mut WriterState, commit: &mut Commit) {
        let reply = self.reply.take();
        if reply.as_ref().is_some_and(ReplySender::is_abandoned) {
            self.drop_requests();
        }
        let checked = self.check(state, commit);
        let Self { at, run, key, reserve, opening, event, closing, settled, key_reply, queue, .. } = *self;
        let mut receipts = Receipts::default();
        if let Some((opening, subject)) = opening {
            receipts.entry = Some(open_entry(&opening, subject, at, &queue, state, commit));
        }
        if let Some(event) = event {
            let number = state.chain.append(&event, None, at, &mut commit.audit, &mut commit.statements);
            receipts.event = Some(AuditSeq(number));
        }
        if let Some(closing) = closing {
            append_closing(&mut state.chain, closing, &mut commit.audit, &mut commit.statements);
        }
        if !settled.is_empty() {
            let mut ledger = state.shared.ledger();
            settled.into_iter().for_each(|record| ledger.add_settlement(record));
        }
        if let Some(key_reply) = key_reply {
            key_reply.apply(at, commit);
        }
        let result = match checked {
            Ok(()) => {
                if let Some(run) = run {
                    run.apply(at, state, commit, &mut receipts);
                }
                receipts.key = key.map(|key| key.apply(at, &queue, state, commit));
                receipts.reservation = reserve.and_then(|reserve| reserve.apply(&queue, state));
                Ok(receipts)
            }
            Err(error) => {
                if let Some(entry) = receipts.entry {
                    close_refused(entry, &error, at, state, commit);
                }
                Err(error)
            }
        };
        if let Some(reply) = reply {
            commit.reply_to_unit(reply, result);
        }
    }
}

fn open_entry(
    event: &EventJson,
    subject: EntrySubject,
    at: Timestamp,
    queue: &WriterQueue,
    state: &mut WriterState,
    commit: &mut Commit,
) -> OpenAuditEntry {
    let number = state.chain.append(event, Some(&subject), at, &mut commit.audit, &mut commit.statements);
    commit.audit.opened.push(number);
    let (queue, clock, name) = (queue.clone(), state.shared.clock.clone(), subject.clone());
    let interrupt = move |opened: AuditSeq| {
        let event = EventJson::from_event(&Event::Interrupted { opened: opened.0 }).map_err(StoreError::from);
        let submitted = event.and_then(|event| {
            let closing = CloseEntry { opened, event, subject: name, at: clock.now() };
            queue.try_send(Box::new(QueuedUnit::interrupting(closing, queue.clone())))
        });
        if let Err(error) = submitted {
            tracing::warn!(
                audit.opened = opened.0,
                error = %error,
                "a dropped audit entry remains open until the next start"
            );
        }
    };
    OpenAuditEntry::new(AuditSeq(number), subject, at, Some(Box::new(interrupt)))
}

/// Closes the entry of a unit that is not taken: nothing was executed.
fn close_refused(
    mut entry: OpenAuditEntry,
    error: &UnitError,
    at: Timestamp,
    state: &mut WriterState,
    commit: &mut Commit,
) {
    let opened = entry.opened();
    match EventJson::from_event(&Event::Closed { opened: opened.0, closing: error.closing() }) {
        Ok(event) => {
            entry.disarm();
            let closing = CloseEntry { opened, event, subject: entry.subject().clone(), at };
            append_closing(&mut state.chain, closing, &mut commit.audit, &mut commit.statements);
        }
        // The entry is closed as interrupted.
        Err(error) => tracing::error!(audit.opened = opened.0, error = %error, "an audit entry cannot be closed"),
    }
}
