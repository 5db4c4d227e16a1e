//! Runs and their journals in memory.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol as protocol;
use protocol::event::RunStatus;
use protocol::journal::Entry;
use protocol::{Reply, RunId, TenantId, Timestamp};

use crate::error::StoreError;
use crate::in_memory::shared::Shared;
use crate::journal::{Journal, JournalError, JournalRecord, Seq};
use crate::notify::tail;
use crate::runs::{RunFilter, RunPage, RunRecord, RunStore, TreeCounts};

/// The runs and their journals.
#[derive(Clone)]
pub(super) struct InMemoryRuns(pub(super) Arc<Shared>);

impl InMemoryRuns {
    fn entries(&self, run: &RunId, after: Seq, limit: u32) -> Vec<JournalRecord> {
        let runs = self.0.runs();
        let Some(stored) = runs.find(run) else { return Vec::new() };
        let skipped = usize::try_from(after.0).unwrap_or(usize::MAX);
        stored.journal.iter().skip(skipped).take(limit as usize).cloned().collect()
    }
}

#[async_trait]
impl RunStore for InMemoryRuns {
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
            filter.tenant.as_ref().is_none_or(|tenant| *tenant == record.owner.tenant)
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
        Ok(self.0.runs().open_runs(root).cloned().collect())
    }

    async fn list_unclaimed(
        &self,
        tenant: Option<&TenantId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RunRecord>, StoreError> {
        let runs = self.0.runs();
        let unclaimed = self.0.leases.unclaimed(now).into_iter().filter_map(|number| runs.runs.get(&number));
        let is_dead = |record: &RunRecord| record.status == RunStatus::Dead;
        let roots: HashSet<_> =
            unclaimed.filter(|stored| !is_dead(&stored.record)).map(|stored| &stored.record.run).collect();
        if roots.is_empty() {
            return Ok(Vec::new());
        }
        let is_unclaimed = |record: &&RunRecord| {
            roots.contains(&record.root)
                && !record.status.is_terminal()
                && tenant.is_none_or(|tenant| record.owner.tenant == *tenant)
        };
        Ok(runs.runs.values().map(|stored| &stored.record).filter(is_unclaimed).take(limit as usize).cloned().collect())
    }

    async fn count_trees(&self, now: Timestamp, limit: u32) -> Result<TreeCounts, StoreError> {
        let runs = self.0.runs();
        let roots = self.0.leases.unclaimed(now).into_iter().filter_map(|number| runs.runs.get(&number));
        let waiting = roots.filter(|stored| stored.record.status != RunStatus::Dead).count();
        Ok(TreeCounts::bounded(waiting, self.0.leases.owned(now), limit))
    }
}

#[async_trait]
impl Journal for InMemoryRuns {
    async fn read(&self, run: &RunId, after: Seq, limit: u32) -> Result<Vec<JournalRecord>, JournalError> {
        Ok(self.entries(run, after, limit))
    }

    fn tail(&self, run: &RunId, after: Seq) -> BoxStream<'static, Result<JournalRecord, JournalError>> {
        tail(self.clone(), run, self.0.journal_notifiers.subscribe(run), after)
    }
}
