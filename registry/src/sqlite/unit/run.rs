//! The change of one run, or of the ownership of its tree: create, claim, append, release, fail.

use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::{PodId, RunId, Timestamp};

use crate::core::{Conflict, Receipts, RunChange, UnitError};
use crate::error::StoreError;
use crate::idempotency::StoredKey;
use crate::journal::{AppendPosition, Receipt, Seq};
use crate::runs::encoded::EncodedEntries;
use crate::runs::leases::NewLease;
use crate::runs::record::StatusChange;
use crate::runs::{ClaimedTree, Fence, NewRun, RunRecord};
use crate::sqlite::command::Needs;
use crate::sqlite::commit::{Commit, LeaseChange};
use crate::sqlite::idempotency::key_row::KeyRow;
use crate::sqlite::runs::cache::CachedRecord;
use crate::sqlite::runs::row::{
    INSERT_PRINCIPAL, INSERT_RUN, MARK_PERSONAL_DATA, UPDATE_FAILURES, UPDATE_RUN, UPDATE_TREE, insert_values,
    principal_values, update_values,
};
use crate::sqlite::shared::Shared;
use crate::sqlite::statement_batch::{SqlValue, StatementBatch, from_int};
use crate::sqlite::writer_state::WriterState;

const INSERT_ENTRY: &str = "INSERT INTO journal (run, seq, at, entry) VALUES (?, ?, ?, ?)";

impl EncodedEntries {
    fn insert(self, run: i64, after: Seq, now: Timestamp, statements: &mut StatementBatch) {
        for (seq, entry) in (after.0.saturating_add(1)..).zip(self.texts) {
            let values = vec![run.into(), seq.into(), now.as_micros().into(), SqlValue::Text(entry)];
            statements.add(INSERT_ENTRY, values);
        }
    }
}

/// A run to create with its key and its first entries.
pub(super) struct CreateRun {
    new: NewRun,
    key: Option<StoredKey>,
    entries: EncodedEntries,
}

/// The change of one run, or of the ownership of one tree.
pub(super) enum ChangeRun {
    Create(CreateRun),
    Claim { root: RunId, pod: PodId, lease: Duration },
    Append { run: RunId, fence: Fence, after: Seq, entries: EncodedEntries },
    Release { root: RunId, fence: Fence },
    Fail { root: RunId, fence: Fence },
}

impl ChangeRun {
    pub(super) fn encode(change: RunChange<'_>) -> Result<Self, StoreError> {
        Ok(match change {
            RunChange::Create { run, key, entries } => {
                let key = key.map(|key| (key.to_stored(), run.tenant().clone()));
                Self::Create(CreateRun { new: run, key, entries: EncodedEntries::from_entries(entries)? })
            }
            RunChange::Claim { root, pod, lease } => Self::Claim { root: root.clone(), pod: pod.clone(), lease },
            RunChange::Append { position: AppendPosition { run, fence, after }, entries } => {
                Self::Append { run: run.clone(), fence, after, entries: EncodedEntries::from_entries(entries)? }
            }
            RunChange::Release { root, fence } => Self::Release { root: root.clone(), fence },
            RunChange::Fail { root, fence, .. } => Self::Fail { root: root.clone(), fence },
        })
    }

    pub(super) fn add_needs<'c>(&'c self, needs: &mut Needs<'c>) {
        match self {
            Self::Create(CreateRun { new, key, .. }) => {
                needs.runs.push(new.id());
                needs.runs.extend(new.caller().map(|(parent, _)| parent));
                needs.keys.extend(key);
            }
            Self::Claim { root, .. } => {
                needs.runs.push(root);
                needs.trees.push(root);
            }
            Self::Append { run, .. } | Self::Fail { root: run, .. } => needs.runs.push(run),
            Self::Release { .. } => {}
        }
    }

    pub(super) fn check(&self, at: Timestamp, state: &WriterState, commit: &Commit) -> Result<(), UnitError> {
        let record = |run| Ok::<_, UnitError>(state.runs.find(run)?.map(|cached| &cached.record));
        match self {
            Self::Create(CreateRun { new, key, entries }) => {
                StatusChange::check_entries(&entries.changes)?;
                let used = key.as_ref().map(|key| commit.find_key(key)).transpose()?.flatten();
                if let Some(row) = used {
                    let is_same = row.request_hash == new.request_hash;
                    return Err(UnitError::Conflict(Conflict::Run(row.run.clone().filter(|_| is_same))));
                }
                if let Some(existing) = record(new.id())? {
                    return Err(UnitError::Conflict(existing.conflict_with(new)));
                }
                match new.caller() {
                    Some((parent, fence)) => {
                        let caller = record(parent)?.ok_or(UnitError::Conflict(Conflict::UnknownRun))?;
                        Ok(caller.check_calls(fence)?)
                    }
                    None => Ok(()),
                }
            }
            Self::Claim { root, .. } => {
                record(root)?.ok_or(UnitError::Conflict(Conflict::UnknownRun))?;
                let is_leased = state.shared.leases.is_leased(root, at);
                RunRecord::check_claim(state.runs.has_open_run(root), is_leased).map_err(UnitError::Conflict)
            }
            Self::Append { run, fence, after, entries } => {
                let record = record(run)?.ok_or(UnitError::Conflict(Conflict::UnknownRun))?;
                Ok(record.check_append(*fence, *after, &entries.changes)?)
            }
            Self::Fail { root, .. } => record(root).map(drop),
            Self::Release { .. } => Ok(()),
        }
    }

    /// Applies a checked change.
    pub(super) fn apply(self, at: Timestamp, state: &mut WriterState, commit: &mut Commit, receipts: &mut Receipts) {
        match self {
            Self::Create(create) => create.apply(at, state, commit, receipts),
            Self::Claim { root, pod, lease } => receipts.tree = claim(root, &pod, lease, at, state, commit),
            Self::Append { run, fence, after, entries } => {
                let Some(CachedRecord { number, record }) = state.runs.find_mut(&run) else { return };
                let is_changed = record.append(&entries.changes, at);
                let is_progress = StatusChange::are_progress(&entries.changes);
                if entries.releases_key {
                    commit.release_key_of(&run);
                }
                entries.insert(*number, after, at, &mut commit.statements);
                if is_changed {
                    commit.statements.add(UPDATE_RUN, update_values(*number, record));
                }
                receipts.journal = Some(Receipt::new(run.clone(), after, record.seq));
                commit.journal_notify.push(run.clone());
                let (root, is_ended) = (record.root.clone(), record.status.is_terminal());
                if is_progress && state.runs.on_progress(&root) {
                    commit.statements.add(UPDATE_FAILURES, vec![0_i64.into(), root.as_str().into()]);
                }
                if is_ended {
                    state.runs.mark_ended(run);
                    state.shared.leases.remove_run(&root, fence);
                    commit.leases.push(LeaseChange::Ended { root, fence, at });
                } else {
                    commit.leases.push(LeaseChange::Appended { root, fence, at });
                }
            }
            Self::Release { root, fence } => state.shared.leases.release(&root, fence, at),
            Self::Fail { root, fence } => {
                if let Some(failures) = state.runs.on_failed(&root, fence) {
                    commit.statements.add(UPDATE_FAILURES, vec![i64::from(failures).into(), root.as_str().into()]);
                }
                state.shared.leases.release(&root, fence, at);
            }
        }
    }
}

/// Transfers the runs of a checked tree to the next owner.
fn claim(
    root: RunId,
    pod: &PodId,
    duration: Duration,
    at: Timestamp,
    state: &mut WriterState,
    commit: &mut Commit,
) -> Option<ClaimedTree> {
    let CachedRecord { number, record } = state.runs.find_mut(&root)?;
    let last_owner = record.pod.clone();
    let fence = record.transfer_to(pod);
    let (number, owned) = (*number, record.clone());
    commit.statements.add(UPDATE_RUN, update_values(number, &owned));
    commit.statements.add(UPDATE_TREE, vec![fence.0.into(), pod.as_str().into(), root.as_str().into()]);
    let runs = state.runs.transfer_tree(&owned);
    let Shared { leases, pods, .. } = &*state.shared;
    // An owner of this process has a lease, and one of an earlier process has died with it.
    let last_activity = leases.last_activity(&root).or_else(|| pods.activity_of_dead(&last_owner));
    let lease = NewLease { root: &root, number: from_int(number), fence, duration, granted_at: at };
    leases.grant_claimed(lease, runs.len(), last_activity);
    commit.leases.push(LeaseChange::Claimed { root, fence, at });
    Some(ClaimedTree { fence, failures: owned.failures, runs, last_activity })
}

impl CreateRun {
    fn apply(self, at: Timestamp, state: &mut WriterState, commit: &mut Commit, receipts: &mut Receipts) {
        let Self { new, key, entries } = self;
        let run = new.id().clone();
        let record = RunRecord::with_entries(&new, &entries.changes, at);
        let (fence, is_ended) = (record.fence, record.status.is_terminal());
        let number = state.runs.next_number();
        commit.statements.add(INSERT_PRINCIPAL, principal_values(&record.owner));
        commit.statements.add(INSERT_RUN, insert_values(number, &record));
        if let Some(parent) = record.parent.as_ref().filter(|_| record.personal_data) {
            commit.statements.add(MARK_PERSONAL_DATA, vec![parent.as_str().into()]);
        }
        state.runs.insert(number, record);
        if let Some(key) = key.filter(|_| !entries.releases_key) {
            let pod = state.shared.pods.own().clone();
            let row = KeyRow { request_hash: new.request_hash, run: Some(run.clone()), reply: None, pod };
            commit.upsert_key(key, row, at);
        }
        if is_ended {
            state.runs.mark_ended(run.clone());
        } else if new.caller().is_some() {
            let root = new.started.root.clone();
            state.shared.leases.add_run(&root, fence);
            commit.leases.push(LeaseChange::Called { root, fence });
        } else {
            let number = from_int(number);
            let lease = NewLease { root: &run, number, fence, duration: new.lease, granted_at: at };
            state.shared.leases.grant_created(lease);
            commit.leases.push(LeaseChange::Created { root: run.clone(), number });
        }
        receipts.fence = Some(fence);
        let last = Seq(entries.texts.len() as u64);
        if last > Seq(0) {
            entries.insert(number, Seq(0), at, &mut commit.statements);
            commit.journal_notify.push(run.clone());
            receipts.journal = Some(Receipt::new(run, Seq(0), last));
        }
    }
}
