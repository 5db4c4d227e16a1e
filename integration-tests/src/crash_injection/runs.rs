//! Decorators of the run store and the journal: each write passes the crash point, reads are forwarded.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{PodId, Reply, RunId, TenantId, Timestamp};
use greenroom_registry::StoreError;
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::journal::{AppendPosition, Journal, JournalError, JournalRecord, PendingAppend, Receipt, Seq};
use greenroom_registry::runs::{
    ClaimedTree, Created, DedupKey, Fence, NewRun, RunFilter, RunPage, RunRecord, RunStore,
};

use super::CrashPoint;

pub(super) struct CrashingRuns {
    pub(super) inner: Arc<dyn RunStore>,
    pub(super) crash_point: Arc<CrashPoint>,
}

#[async_trait]
impl RunStore for CrashingRuns {
    async fn create_with_entries(
        &self,
        run: &NewRun,
        key: Option<&DedupKey>,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<(Created, Option<Receipt>), JournalError> {
        self.crash_point.write(self.inner.create_with_entries(run, key, entries, now)).await
    }

    async fn claim(
        &self,
        root: &RunId,
        pod: &PodId,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Option<ClaimedTree>, StoreError> {
        self.crash_point.write(self.inner.claim(root, pod, lease, now)).await
    }

    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.crash_point.write(self.inner.renew(root, fence, lease, now)).await
    }

    async fn release(&self, root: &RunId, fence: Fence) {
        self.crash_point.write(self.inner.release(root, fence)).await;
    }

    async fn fail(&self, root: &RunId, fence: Fence) -> Result<(), StoreError> {
        self.crash_point.write(self.inner.fail(root, fence)).await
    }

    async fn list_tree(&self, root: &RunId) -> Result<Vec<RunRecord>, StoreError> {
        self.inner.list_tree(root).await
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunRecord>, StoreError> {
        self.inner.get(run).await
    }

    async fn reply(&self, run: &RunId) -> Result<Option<Reply>, StoreError> {
        self.inner.reply(run).await
    }

    async fn list(&self, filter: &RunFilter, before: Option<u64>, limit: u32) -> Result<RunPage, StoreError> {
        self.inner.list(filter, before, limit).await
    }

    async fn list_unclaimed(
        &self,
        tenant: Option<&TenantId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RunRecord>, StoreError> {
        self.inner.list_unclaimed(tenant, now, limit).await
    }

    async fn prune(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        self.crash_point.write(self.inner.prune(tenant, before)).await
    }
}

pub(super) struct CrashingJournal {
    pub(super) inner: Arc<dyn Journal>,
    pub(super) crash_point: Arc<CrashPoint>,
}

#[async_trait]
impl Journal for CrashingJournal {
    async fn submit(
        &self,
        tip: AppendPosition<'_>,
        entries: &[Entry],
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAppend, JournalError> {
        let is_crash_point = self.crash_point.hit();
        let pending = self.inner.submit(tip, entries, timing, now).await?;
        if is_crash_point {
            let _ = pending.wait_receipt().await;
            std::process::abort();
        }
        Ok(pending)
    }

    async fn read(&self, run: &RunId, after: Seq, limit: u32) -> Result<Vec<JournalRecord>, JournalError> {
        self.inner.read(run, after, limit).await
    }

    fn tail(&self, run: &RunId, after: Seq) -> BoxStream<'static, Result<JournalRecord, JournalError>> {
        self.inner.tail(run, after)
    }
}
