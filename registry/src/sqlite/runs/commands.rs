//! The writer's commands for runs and their journals.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::journal::Entry;
use protocol::{PodId, RunId, TenantId, Timestamp};

use super::cache::CachedRecord;
use super::row::{
    INSERT_RUN, MARK_PERSONAL_DATA, UPDATE_FAILURES, UPDATE_RUN, UPDATE_TREE, insert_values, update_values,
};
use crate::error::StoreError;
use crate::group_commit::CommitTiming;
use crate::journal::{JournalError, Receipt, Seq};
use crate::runs::record::StatusChange;
use crate::runs::{ClaimedTree, Created, Fence, NewRun, RunRecord};
use crate::sqlite::command::{Needs, WriteCommand};
use crate::sqlite::commit::Commit;
use crate::sqlite::idempotency::key_row::KeyRow;
use crate::sqlite::shared::Shared;
use crate::sqlite::statement_batch::{SqlValue, StatementBatch};
use crate::sqlite::writer_state::WriterState;

const INSERT_ENTRY: &str = "INSERT INTO journal (run, seq, at, entry) VALUES (?, ?, ?, ?)";

/// The runs that are pruned: those of a tenant, or of all, that ended before a time, and whose root has ended.
macro_rules! where_pruned {
    () => {
        "WHERE ended = 1 AND updated < ?1 AND (?2 IS NULL OR tenant = ?2) \
         AND root NOT IN (SELECT root FROM runs WHERE ended = 0)"
    };
}
pub(super) use where_pruned;

macro_rules! pruned_runs {
    ($column:literal) => {
        concat!("SELECT ", $column, " FROM runs ", where_pruned!())
    };
}

/// Deletes pruned runs with everything that belongs to them; the runs themselves are last.
const PRUNE: [&str; 6] = [
    concat!("DELETE FROM journal WHERE run IN (", pruned_runs!("number"), ")"),
    concat!("DELETE FROM idempotency_keys WHERE run IN (", pruned_runs!("run"), ")"),
    concat!("DELETE FROM context_values WHERE run IN (", pruned_runs!("run"), ")"),
    concat!("DELETE FROM contexts WHERE run IN (", pruned_runs!("run"), ")"),
    concat!("DELETE FROM budgets WHERE budget IN (", pruned_runs!("'{\"Run\":\"' || run || '\"}'"), ")"),
    concat!("DELETE FROM runs ", where_pruned!()),
];

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
        Needs { run: Some(self.new.id()), parent: self.new.started.parent.as_ref(), key, ..Needs::default() }
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
        if let (Some(fence), Some(parent)) = (new.tree_fence, &new.started.parent) {
            let caller = state.runs.find_mut(parent).ok_or(JournalError::Unknown)?;
            caller.record.check_calls(fence)?;
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
        } else if new.tree_fence.is_none() {
            state.shared.leases.grant(run, fence, new.lease, now);
            release_on_failure(&state.shared, run, fence, commit);
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

/// Claims a tree that has no owner.
pub(super) struct ClaimTree {
    pub(super) root: RunId,
    pub(super) pod: PodId,
    pub(super) lease: Duration,
    pub(super) now: Timestamp,
}

impl WriteCommand for ClaimTree {
    type Output = Option<ClaimedTree>;
    type Error = StoreError;

    fn needs(&self) -> Needs<'_> {
        Needs { tree: Some(&self.root), ..Needs::default() }
    }

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<Option<ClaimedTree>, StoreError> {
        let Self { root, pod, lease, now } = self;
        let leases = &state.shared.leases;
        if leases.is_leased(&root, now) || state.runs.tree_mut(&root).is_empty() {
            return Ok(None);
        }
        let Some(CachedRecord { number, record }) = state.runs.find_mut(&root) else { return Ok(None) };
        let fence = record.transfer_to(&pod);
        let (failures, owned) = (record.failures, record.clone());
        commit.statements.add(UPDATE_RUN, update_values(*number, record));
        commit.statements.add(UPDATE_TREE, vec![fence.0.into(), pod.as_str().into(), root.as_str().into()]);
        let follow = |cached: &mut CachedRecord| {
            cached.record.follow(&owned);
            cached.record.clone()
        };
        let runs = state.runs.tree_mut(&root).into_iter().map(follow).collect();
        if failures > 0 {
            state.runs.mark_failed(root.clone());
        }
        let last_active = leases.renewed_at(&root);
        leases.grant(&root, fence, lease, now);
        release_on_failure(&state.shared, &root, fence, commit);
        Ok(Some(ClaimedTree { fence, failures, runs, last_active }))
    }
}

/// Ends the lease of a tree that has failed, and counts the failure.
pub(super) struct FailTree {
    pub(super) root: RunId,
    pub(super) fence: Fence,
}

impl WriteCommand for FailTree {
    type Output = ();
    type Error = StoreError;

    fn needs(&self) -> Needs<'_> {
        Needs { run: Some(&self.root), ..Needs::default() }
    }

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        let Self { root, fence } = self;
        if let Some(cached) = state.runs.find_mut(&root).filter(|cached| cached.record.fence == fence) {
            cached.record.failures = cached.record.failures.saturating_add(1);
            let failures = i64::from(cached.record.failures);
            commit.statements.add(UPDATE_FAILURES, vec![failures.into(), root.as_str().into()]);
            state.runs.mark_failed(root.clone());
        }
        state.shared.leases.release(&root, fence);
        Ok(())
    }
}

fn release_on_failure(shared: &Arc<Shared>, run: &RunId, fence: Fence, commit: &mut Commit) {
    let (shared, run) = (shared.clone(), run.clone());
    commit.on_committed(move |failure| {
        if failure.is_some() {
            shared.leases.release(&run, fence);
        }
    });
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
        let changes = entries.changes.clone();
        entries.insert(*number, after, now, &mut commit.statements);
        if is_changed {
            commit.statements.add(UPDATE_RUN, update_values(*number, record));
        }
        let receipt = Receipt::new(run.clone(), after, record.seq);
        let (is_ended, root) = (record.status.is_terminal(), record.root.clone());
        if is_ended {
            state.runs.mark_ended(run.clone());
        }
        if StatusChange::are_progress(&changes) && state.runs.on_progress(&root) {
            commit.statements.add(UPDATE_FAILURES, vec![0_i64.into(), root.as_str().into()]);
        }
        let shared = state.shared.clone();
        // An owner whose lease expired keeps the tree as long as no other owner has claimed it.
        commit.on_committed(move |_| drop(shared.leases.renew(&root, fence, None, now)));
        commit.journal_notify.push(run);
        Ok(receipt)
    }
}

/// Deletes the runs that ended before a time.
pub(super) struct PruneRuns {
    /// The tenant of the runs; none for all.
    pub(super) tenant: Option<TenantId>,
    pub(super) before: Timestamp,
}

impl WriteCommand for PruneRuns {
    type Output = ();
    type Error = StoreError;

    fn apply(self, state: &mut WriterState, commit: &mut Commit) -> Result<(), StoreError> {
        let tenant = self.tenant.as_ref().map(|tenant| tenant.as_str());
        for sql in PRUNE {
            commit.statements.add(sql, vec![self.before.as_micros().into(), tenant.into()]);
        }
        state.runs.clear();
        Ok(())
    }
}
