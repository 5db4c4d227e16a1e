//! The writer's commands for runs and their journals.

use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::journal::Entry;
use protocol::{PodId, RunId, Timestamp};

use super::cache::CachedRecord;
use super::row::{INSERT_RUN, MARK_PERSONAL_DATA, UPDATE_RUN, insert_values, update_values};
use crate::error::StoreError;
use crate::group_commit::CommitTiming;
use crate::journal::{JournalError, Receipt, Seq};
use crate::runs::record::StatusChange;
use crate::runs::{Created, Fence, NewRun, RunRecord};
use crate::sqlite::command::{Needs, WriteCommand};
use crate::sqlite::commit::Commit;
use crate::sqlite::idempotency::key_row::KeyRow;
use crate::sqlite::statement_batch::{SqlValue, StatementBatch, from_int};
use crate::sqlite::writer_state::WriterState;

const INSERT_ENTRY: &str = "INSERT INTO journal (run, seq, at, entry) VALUES (?, ?, ?, ?)";

/// Journal entries as JSON and as status changes. The caller's thread computes both, so that the one
/// writer has less to do.
pub(super) struct EncodedEntries {
    texts: Vec<String>,
    pub(super) changes: Vec<StatusChange>,
}

impl EncodedEntries {
    pub(super) fn from_entries(entries: &[Entry]) -> Result<Self, StoreError> {
        let texts = entries.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        Ok(Self { texts, changes: StatusChange::from_entries(entries) })
    }

    fn insert(self, run: i64, after: Seq, now: Timestamp, statements: &mut StatementBatch) {
        for (seq, entry) in (after.0.saturating_add(1)..).zip(self.texts) {
            let values = vec![run.into(), seq.into(), now.as_micros().into(), SqlValue::Text(entry)];
            statements.add(INSERT_ENTRY, values);
        }
    }
}

/// Creates a run together with its first journal entries.
pub(super) struct CreateRun {
    pub(super) new: NewRun,
    pub(super) key: Option<String>,
    pub(super) entries: EncodedEntries,
    pub(super) now: Timestamp,
}

impl WriteCommand for CreateRun {
    type Output = (Created, Option<Receipt>);
    type Error = JournalError;

    fn needs(&self) -> Needs<'_> {
        let key = self.key.as_deref().map(|key| (key, &self.new.tenant));
        Needs { run: Some(self.new.id()), key, ..Needs::default() }
    }

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<Self::Output, JournalError> {
        let Self { new, key, entries, now } = self;
        let run = new.id();
        let key = key.map(|key| (key, new.tenant.clone()));
        if let Some(row) = key.as_ref().and_then(|key| commit.keys.get(key)?.as_ref()) {
            let is_same = row.request_hash == new.request_hash;
            let existing = row.run.clone().filter(|_| is_same);
            return Ok((existing.map_or(Created::Conflict, Created::Existing), None));
        }
        if let Some(cached) = state.runs.find_mut(run) {
            let is_same = cached.record.matches(&new);
            return Ok((if is_same { Created::Existing(run.clone()) } else { Created::Conflict }, None));
        }
        let record = RunRecord::with_entries(&new, &entries.changes, now);
        let (fence, is_ended) = (record.fence, record.status.is_terminal());
        let number = state.runs.next_number();
        commit.statements.add(INSERT_RUN, insert_values(number, &record));
        if let Some(parent) = record.parent.as_ref().filter(|_| record.personal_data) {
            commit.statements.add(MARK_PERSONAL_DATA, vec![parent.as_str().into()]);
        }
        state.runs.insert(number, record);
        if let Some((key, tenant)) = key {
            let row = KeyRow { request_hash: new.request_hash, run: Some(run.clone()), reply: None };
            row.upsert(&key, &tenant, now, &mut commit.statements);
            commit.keys.insert((key, tenant), Some(row));
        }
        if is_ended {
            state.runs.mark_ended(run.clone());
        } else {
            let number = from_int(number);
            state.shared.leases.grant(run, number, fence, new.lease, now);
            let (shared, run) = (state.shared.clone(), run.clone());
            commit.on_committed(move |failure| {
                if failure.is_some() {
                    shared.leases.forget(&run, number);
                }
            });
        }
        let last = Seq(entries.texts.len() as u64);
        if last == Seq(0) {
            return Ok((Created::New(fence), None));
        }
        entries.insert(number, Seq(0), now, &mut commit.statements);
        commit.journal_notify.push(run.clone());
        Ok((Created::New(fence), Some(Receipt::new(run.clone(), Seq(0), last))))
    }
}

/// Claims a run that has no owner.
pub(super) struct ClaimRun {
    pub(super) run: RunId,
    pub(super) pod: PodId,
    pub(super) lease: Duration,
    pub(super) now: Timestamp,
}

impl WriteCommand for ClaimRun {
    type Output = Option<Fence>;
    type Error = StoreError;

    fn needs(&self) -> Needs<'_> {
        Needs { run: Some(&self.run), ..Needs::default() }
    }

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<Option<Fence>, StoreError> {
        let Self { run, pod, lease, now } = self;
        let leases = &state.shared.leases;
        let active = state.runs.find_mut(&run).filter(|cached| !cached.record.status.is_terminal());
        let Some(CachedRecord { number, record }) = active.filter(|_| !leases.is_leased(&run, now)) else {
            return Ok(None);
        };
        let fence = record.transfer_to(&pod);
        commit.statements.add(UPDATE_RUN, update_values(*number, record));
        leases.grant(&run, from_int(*number), fence, lease, now);
        let shared = state.shared.clone();
        commit.on_committed(move |failure| {
            if failure.is_some() {
                shared.leases.release(&run, fence);
            }
        });
        Ok(Some(fence))
    }
}

/// Appends entries to the journal of a run.
pub(super) struct AppendEntries {
    pub(super) run: RunId,
    pub(super) fence: Fence,
    pub(super) after: Seq,
    pub(super) entries: EncodedEntries,
    pub(super) timing: CommitTiming,
    pub(super) now: Timestamp,
}

impl WriteCommand for AppendEntries {
    type Output = Receipt;
    type Error = JournalError;

    fn max_delay(&self) -> Duration {
        self.timing.max_delay()
    }

    fn needs(&self) -> Needs<'_> {
        Needs { run: Some(&self.run), ..Needs::default() }
    }

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<Receipt, JournalError> {
        let Self { run, fence, after, entries, timing: _, now } = self;
        let CachedRecord { number, record } = state.runs.find_mut(&run).ok_or(JournalError::Unknown)?;
        let is_changed = record.append(fence, after, &entries.changes, now)?;
        entries.insert(*number, after, now, &mut commit.statements);
        if is_changed {
            commit.statements.add(UPDATE_RUN, update_values(*number, record));
        }
        let receipt = Receipt::new(run.clone(), after, record.seq);
        let (is_ended, number) = (record.status.is_terminal(), from_int(*number));
        if is_ended {
            state.runs.mark_ended(run.clone());
        }
        let (shared, owned) = (state.shared.clone(), run.clone());
        commit.on_committed(move |failure| {
            if is_ended && failure.is_none() {
                shared.leases.forget(&owned, number);
            } else {
                // An owner whose lease expired keeps the run as long as no other owner has claimed it.
                let _ = shared.leases.renew(&owned, fence, None, now);
            }
        });
        commit.journal_notify.push(run);
        Ok(receipt)
    }
}
