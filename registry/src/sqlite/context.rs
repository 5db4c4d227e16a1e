//! Shared contexts in SQLite: readers serve reads, the writer serves writes.

use async_trait::async_trait;
use futures::future::FutureExt;
use futures::stream::BoxStream;
use greenroom_protocol as protocol;
use protocol::{ContextKey, RunId, Timestamp};

use crate::context::data::ContextData;
use crate::context::{ContextError, ContextEvent, ContextPut, ContextStore, Snapshot, Version, Versioned};
use crate::error::StoreError;
use crate::notify::{TailSource, tail};
use crate::runs::Fence;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;

use cache::{SELECT_CONTEXT, assemble, decode_row};
use commands::{ClaimContext, ExpireValues, RemoveContext, WriteValue};

pub(super) mod cache;
mod commands;

/// The shared contexts.
#[derive(Clone)]
pub(super) struct SqliteContext(pub(super) StoreHandle);

impl SqliteContext {
    async fn data(&self, run: &RunId) -> Result<ContextData, StoreError> {
        let rows = sqlx::query(SELECT_CONTEXT)
            .bind(run.as_str())
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let rows = rows.iter().map(decode_row).collect::<Result<Vec<_>, _>>()?;
        Ok(assemble(rows).unwrap_or_default())
    }
}

#[async_trait]
impl ContextStore for SqliteContext {
    async fn claim(&self, run: &RunId) -> Result<Fence, ContextError> {
        self.0.queue.execute(ClaimContext { run: run.clone() }).await
    }

    async fn read(
        &self,
        run: &RunId,
        keys: &[ContextKey],
        now: Timestamp,
    ) -> Result<Vec<Option<Versioned>>, ContextError> {
        let data = self.data(run).await?;
        Ok(keys.iter().map(|key| data.read(key, now)).collect())
    }

    async fn write(&self, run: &RunId, fence: Fence, put: ContextPut, now: Timestamp) -> Result<Version, ContextError> {
        self.0.queue.execute(WriteValue { run: run.clone(), fence, put, now }).await
    }

    async fn snapshot(&self, run: &RunId, now: Timestamp) -> Result<Snapshot, ContextError> {
        Ok(self.data(run).await?.snapshot(now))
    }

    fn watch(&self, run: &RunId, after: Version) -> BoxStream<'static, Result<ContextEvent, ContextError>> {
        let (store, run_id) = (self.clone(), run.clone());
        tail(TailSource {
            notify: self.0.context_notifiers.subscribe(run),
            after: after.0,
            read: Box::new(move |after| {
                let (store, run_id) = (store.clone(), run_id.clone());
                async move { Ok(store.data(&run_id).await?.changes(Version(after))) }.boxed()
            }),
            position: |event: &ContextEvent| event.version.0,
            is_last: |_| false,
        })
    }

    async fn expire(&self, run: &RunId, fence: Fence, now: Timestamp) -> Result<u64, ContextError> {
        self.0.queue.execute(ExpireValues { run: run.clone(), fence, now }).await
    }

    async fn remove(&self, run: &RunId, fence: Fence) -> Result<(), ContextError> {
        self.0.queue.execute(RemoveContext { run: run.clone(), fence }).await?;
        self.0.context_notifiers.close(run);
        Ok(())
    }
}
