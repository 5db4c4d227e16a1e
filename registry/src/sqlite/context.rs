//! Shared contexts in SQLite: what is read comes from a reader, what is written goes to the writer.

use std::sync::Arc;

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
use crate::sqlite::commands::{Command, ContextCommand};
use crate::sqlite::{Shared, failed};

pub(super) mod write;

/// The contexts.
#[derive(Clone)]
pub(super) struct SqliteContext(pub(super) Arc<Shared>);

impl SqliteContext {
    async fn data(&self, run: &RunId) -> Result<ContextData, StoreError> {
        let mut reader = self.0.readers.acquire().await.map_err(|error| failed(&error))?;
        Ok(write::read_context(&mut reader, run).await?.unwrap_or_default())
    }
}

#[async_trait]
impl ContextStore for SqliteContext {
    async fn claim(&self, run: &RunId) -> Result<Fence, ContextError> {
        let run = run.clone();
        self.0.queue.request(|answer| Command::Context(ContextCommand::Claim { run, answer })).await
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
        let (run, put) = (run.clone(), Box::new(put));
        self.0.queue.request(|answer| Command::Context(ContextCommand::Write { run, fence, put, now, answer })).await
    }

    async fn snapshot(&self, run: &RunId, now: Timestamp) -> Result<Snapshot, ContextError> {
        Ok(self.data(run).await?.snapshot(now))
    }

    fn watch(&self, run: &RunId, after: Version) -> BoxStream<'static, Result<ContextEvent, ContextError>> {
        let (store, name) = (self.clone(), run.clone());
        tail(TailSource {
            notify: self.0.context_notifiers.subscribe(run),
            after: after.0,
            read: Box::new(move |after| {
                let (store, name) = (store.clone(), name.clone());
                async move { Ok(store.data(&name).await?.changes(Version(after))) }.boxed()
            }),
            position: |event: &ContextEvent| event.version.0,
            is_last: |_| false,
        })
    }

    async fn expire(&self, run: &RunId, fence: Fence, now: Timestamp) -> Result<u64, ContextError> {
        let run = run.clone();
        self.0.queue.request(|answer| Command::Context(ContextCommand::Expire { run, fence, now, answer })).await
    }

    async fn remove(&self, run: &RunId, fence: Fence) -> Result<(), ContextError> {
        let (name, notifiers) = (run.clone(), &self.0.context_notifiers);
        self.0.queue.request(|answer| Command::Context(ContextCommand::Remove { run: name, fence, answer })).await?;
        notifiers.close(run);
        Ok(())
    }
}
