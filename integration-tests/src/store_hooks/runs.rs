//! Decorators of the run store and the journal: each read of a record or of a journal is reported to the hook.

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol::{Reply, RunId, TenantId, Timestamp};
use greenroom_registry::StoreError;
use greenroom_registry::journal::{Journal, JournalError, JournalRecord, Seq};
use greenroom_registry::runs::{RunFilter, RunPage, RunRecord, RunStore, TreeCounts};

use super::{Hooked, HookedRead};

#[async_trait]
impl RunStore for Hooked<dyn RunStore> {
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

    async fn list_tree(&self, root: &RunId) -> Result<Vec<RunRecord>, StoreError> {
        self.inner.list_tree(root).await
    }

    async fn list_unclaimed(
        &self,
        tenant: Option<&TenantId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RunRecord>, StoreError> {
        self.inner.list_unclaimed(tenant, now, limit).await
    }

    async fn count_trees(&self, now: Timestamp, limit: u32) -> Result<TreeCounts, StoreError> {
        self.inner.count_trees(now, limit).await
    }
}

#[async_trait]
impl Journal for Hooked<dyn Journal> {
    async fn read(&self, run: &RunId, after: Seq, limit: u32) -> Result<Vec<JournalRecord>, JournalError> {
        self.hook.before_read(HookedRead::Journal)?;
        self.inner.read(run, after, limit).await
    }

    fn tail(&self, run: &RunId, after: Seq) -> BoxStream<'static, Result<JournalRecord, JournalError>> {
        self.inner.tail(run, after)
    }
}
