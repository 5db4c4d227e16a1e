//! Runs and their journals in memory.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::FutureExt;
use futures::stream::BoxStream;
use greenroom_protocol as protocol;
use protocol::journal::Entry;
use protocol::{PodId, Reply, RunId, TenantId, Timestamp};

use crate::error::StoreError;
use crate::group_commit::CommitTiming;
use crate::in_memory::run_data::StoredRun;
use crate::in_memory::shared::Shared;
use crate::journal::{AppendPosition, Journal, JournalError, JournalRecord, PendingAppend, Receipt, Seq};
use crate::notify::{TailSource, tail};
use crate::runs::record::StatusChange;
use crate::runs::{ClaimedTree, Created, DedupKey, Fence, NewRun, RunFilter, RunPage, RunRecord, RunStore};

/// Entries that a tail reads at once.
const TAIL_ENTRIES: u32 = 256;

/// The runs and their journals.
#[derive(Debug, Clone)]
pub(super) struct InMemoryRuns(pub(super) Arc<Shared>);

impl InMemoryRuns {
    fn append_now(
        &self,
        run: &RunId,
        fence: Fence,
        after: Seq,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<Receipt, JournalError> {
        let changes = StatusChange::from_entries(entries);
        let (through, root) = {
            let mut runs = self.0.runs();
            let stored = runs.find_mut(run).ok_or(JournalError::Unknown)?;
            stored.record.append(fence, after, &changes, now)?;
            let numbered = (after.0.saturating_add(1)..).zip(entries);
            stored.journal.extend(numbered.map(|(seq, entry)| JournalRecord {
                seq: Seq(seq),
                at: now,
                entry: entry.clone(),
            }));
            let (through, root) = (stored.record.seq, stored.record.root.clone());
            if let Some(stored) = runs.find_mut(&root).filter(|_| StatusChange::are_progress(&changes)) {
                stored.record.failures = 0;
            }
            (through, root)
        };
        // An owner whose lease expired keeps the tree as long as no other owner has claimed it.
        let _ = self.0.leases.renew(&root, fence, None, now);
        self.0.journal_notifiers.notify(run);
        Ok(Receipt::new(run.clone(), after, through))
    }

    fn entries(&self, run: &RunId, after: Seq, limit: u32) -> Vec<JournalRecord> {
        let runs = self.0.runs();
        let Some(stored) = runs.find(run) else { return Vec::new() };
        let skipped = usize::try_from(after.0).unwrap_or(usize::MAX);
        stored.journal.iter().skip(skipped).take(limit as usize).cloned().collect()
    }
}

#[async_trait]
impl RunStore for InMemoryRuns {
    async fn create_with_entries(
        &self,
        run: &NewRun,
        key: Option<&DedupKey>,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<(Created, Option<Receipt>), JournalError> {
        self.0.check_open()?;
        StatusChange::check_entries(&StatusChange::from_entries(entries))?;
        let created = self.0.runs().create(run, key, now)?;
        let Created::New(fence) = created else { return Ok((created, None)) };
        if run.tree_fence.is_none() {
            self.0.leases.grant(run.id(), fence, run.lease, now);
        }
        if entries.is_empty() {
            return Ok((created, None));
        }
        let receipt = self.append_now(run.id(), fence, Seq(0), entries, now)?;
        Ok((created, Some(receipt)))
    }

    async fn claim(
        &self,
        root: &RunId,
        pod: &PodId,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Option<ClaimedTree>, StoreError> {
        self.0.check_open()?;
        let mut runs = self.0.runs();
        if self.0.leases.is_leased(root, now) || runs.tree_mut(root).next().is_none() {
            return Ok(None);
        }
        let Some(stored) = runs.find_mut(root) else { return Ok(None) };
        let fence = stored.record.transfer_to(pod);
        let (failures, owned) = (stored.record.failures, stored.record.clone());
        let follow = |record: &mut RunRecord| {
            record.follow(&owned);
            record.clone()
        };
        let tree = runs.tree_mut(root).map(follow).collect();
        let last_active = self.0.leases.renewed_at(root);
        self.0.leases.grant(root, fence, lease, now);
        Ok(Some(ClaimedTree { fence, failures, runs: tree, last_active }))
    }

    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.0.check_open()?;
        self.0.leases.renew(root, fence, Some(lease), now)
    }

    async fn release(&self, root: &RunId, fence: Fence) {
        self.0.leases.release(root, fence);
    }

    async fn fail(&self, root: &RunId, fence: Fence) -> Result<(), StoreError> {
        if let Some(stored) = self.0.runs().find_mut(root).filter(|stored| stored.record.fence == fence) {
            stored.record.failures = stored.record.failures.saturating_add(1);
        }
        self.0.leases.release(root, fence);
        Ok(())
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunRecord>, StoreError> {
        Ok(self.0.runs().find(run).map(|stored| stored.record.clone()))
    }

    async fn reply(&self, run: &RunId) -> Result<Option<Reply>, StoreError> {
        let runs = self.0.runs();
        let last = runs.find(run).and_then(|stored| stored.journal.last());
        Ok(last.and_then(|last| match &last.entry {
            Entry::RunEnded { reply } => Some(reply.as_ref().clone()),
            _ => None,
        }))
    }

    async fn list(&self, filter: &RunFilter, before: Option<u64>, limit: u32) -> Result<RunPage, StoreError> {
        let (before, limit) = (before.unwrap_or(u64::MAX), limit as usize);
        let runs = self.0.runs();
        let matches = |record: &RunRecord| {
            filter.tenant.as_ref().is_none_or(|tenant| *tenant == record.tenant)
                && filter.status.is_none_or(|status| status == record.status)
                && filter.workflow.as_ref().is_none_or(|workflow| *workflow == record.workflow)
        };
        let newest_first = runs.runs.range(..before).rev().filter(|(_, stored)| matches(&stored.record));
        let mut page: Vec<_> = newest_first.take(limit + 1).collect();
        let is_more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| is_more).map(|(number, _)| **number);
        Ok(RunPage { runs: page.into_iter().map(|(_, stored)| stored.record.clone()).collect(), next })
    }

    async fn list_tree(&self, root: &RunId) -> Result<Vec<RunRecord>, StoreError> {
        Ok(self.0.runs().tree_mut(root).map(|record| record.clone()).collect())
    }

    async fn list_unclaimed(
        &self,
        tenant: Option<&TenantId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RunRecord>, StoreError> {
        let runs = self.0.runs();
        let is_unclaimed = |record: &&RunRecord| {
            tenant.is_none_or(|tenant| record.tenant == *tenant)
                && !record.status.is_terminal()
                && !self.0.leases.is_leased(&record.root, now)
        };
        Ok(runs.runs.values().map(|stored| &stored.record).filter(is_unclaimed).take(limit as usize).cloned().collect())
    }

    async fn prune(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        self.0.check_open()?;
        let mut runs = self.0.runs();
        let is_open = |stored: &&StoredRun| !stored.record.status.is_terminal();
        let open: HashSet<RunId> =
            runs.runs.values().filter(is_open).map(|stored| stored.record.root.clone()).collect();
        let is_old = |record: &RunRecord| {
            tenant.is_none_or(|tenant| record.tenant == *tenant)
                && record.status.is_terminal()
                && record.updated < before
                && !open.contains(&record.root)
        };
        let removed: Vec<_> = runs
            .runs
            .values()
            .filter(|stored| is_old(&stored.record))
            .map(|stored| stored.record.run.clone())
            .collect();
        for run in &removed {
            if let Some(number) = runs.numbers.remove(run) {
                runs.runs.remove(&number);
            }
            self.0.contexts().remove(run);
        }
        runs.keys.retain(|_, key_use| key_use.run.as_ref().is_none_or(|run| !removed.contains(run)));
        Ok(removed.len() as u64)
    }
}

#[async_trait]
impl Journal for InMemoryRuns {
    async fn submit(
        &self,
        position: AppendPosition<'_>,
        entries: &[Entry],
        _: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAppend, JournalError> {
        self.0.check_open()?;
        self.append_now(position.run, position.fence, position.after, entries, now)
            .map(|receipt| PendingAppend::resolved(Ok(receipt)))
    }

    async fn read(&self, run: &RunId, after: Seq, limit: u32) -> Result<Vec<JournalRecord>, JournalError> {
        Ok(self.entries(run, after, limit))
    }

    fn tail(&self, run: &RunId, after: Seq) -> BoxStream<'static, Result<JournalRecord, JournalError>> {
        let (store, run_id) = (self.clone(), run.clone());
        tail(TailSource {
            notify: self.0.journal_notifiers.subscribe(run),
            after: after.0,
            read: Box::new(move |after| {
                futures::future::ready(Ok(store.entries(&run_id, Seq(after), TAIL_ENTRIES))).boxed()
            }),
            position: |item: &JournalRecord| item.seq.0,
            is_last: |item: &JournalRecord| matches!(item.entry, Entry::RunEnded { .. }),
        })
    }
}
