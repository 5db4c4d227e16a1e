//! Decorators of the run store and the journal: each write, and each read of a record or of a journal, is reported to
//! the hook.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{PodId, Reply, RunId, TenantId, Timestamp};
use greenroom_registry::StoreError;
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::journal::{AppendPosition, Journal, JournalError, JournalRecord, PendingAppend, Receipt, Seq};
use greenroom_registry::runs::{Created, DedupKey, Fence, NewRun, RunFilter, RunPage, RunRecord, RunStore};

use super::{Hooked, HookedRead};

#[async_trait]
impl RunStore for Hooked<dyn RunStore> {
    async fn create_with_entries(
        &self,
        run: &NewRun,
        key: Option<&DedupKey>,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<(Created, Option<Receipt>), JournalError> {
        self.write_through(self.inner.create_with_entries(run, key, entries, now)).await
    }

    async fn claim(
        &self,
        run: &RunId,
        pod: &PodId,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Option<Fence>, StoreError> {
        self.write_through(self.inner.claim(run, pod, lease, now)).await
    }

    async fn renew(&self, run: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.write_through(self.inner.renew(run, fence, lease, now)).await
    }

    async fn release(&self, run: &RunId, fence: Fence) {
        self.write_through(self.inner.release(run, fence)).await;
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunRecord>, StoreError> {
        self.hook.before_read(HookedRead::Run)?;
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
        self.write_through(self.inner.prune(tenant, before)).await
    }
}

#[async_trait]
impl Journal for Hooked<dyn Journal> {
    async fn submit(
        &self,
        tip: AppendPosition<'_>,
        entries: &[Entry],
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAppend, JournalError> {
        let is_crash_point = self.hook.before_write();
        let pending = self.inner.submit(tip, entries, timing, now).await?;
        if is_crash_point {
            let _ = pending.wait_receipt().await;
            std::process::abort();
        }
        Ok(pending)
    }

    async fn read(&self, run: &RunId, after: Seq, limit: u32) -> Result<Vec<JournalRecord>, JournalError> {
        self.hook.before_read(HookedRead::Journal)?;
        self.inner.read(run, after, limit).await
    }

    fn tail(&self, run: &RunId, after: Seq) -> BoxStream<'static, Result<JournalRecord, JournalError>> {
        self.inner.tail(run, after)
    }
}
