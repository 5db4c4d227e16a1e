//! Shared contexts in SQLite: what is read comes from a reader, what is written goes to the writer.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::FutureExt;
use futures::stream::BoxStream;
use greenroom_protocol as protocol;
use protocol::{ContextKey, RunId, Timestamp};

use crate::context::data::Board;
use crate::context::{ContextError, ContextEvent, ContextPut, ContextStore, Snapshot, Version, Versioned};
use crate::error::StoreError;
use crate::notify::{Follow, follow};
use crate::runs::Fence;
use crate::sqlite::commands::{Command, ContextCommand};
use crate::sqlite::{Shared, failed};

pub(super) mod write;

/// The contexts.
#[derive(Clone)]
pub(super) struct SqliteContext(pub(super) Arc<Shared>);

impl SqliteContext {
    async fn board(&self, run: &RunId) -> Result<Board, StoreError> {
        let mut reader = self.0.readers.acquire().await.map_err(|error| failed(&error))?;
        Ok(write::read_board(&mut reader, run).await?.unwrap_or_default())
    }
}

#[async_trait]
impl ContextStore for SqliteContext {
    async fn claim(&self, run: &RunId) -> Result<Fence, ContextError> {
        let run = run.clone();
        self.0.queue.ask(|answer| Command::Context(ContextCommand::Claim { run, answer })).await
    }

    async fn read(
        &self,
        run: &RunId,
        keys: &[ContextKey],
        now: Timestamp,
    ) -> Result<Vec<Option<Versioned>>, ContextError> {
        let board = self.board(run).await?;
        Ok(keys.iter().map(|key| board.read(key, now)).collect())
    }

    async fn write(&self, run: &RunId, fence: Fence, put: ContextPut, now: Timestamp) -> Result<Version, ContextError> {
        let (run, put) = (run.clone(), Box::new(put));
        self.0.queue.ask(|answer| Command::Context(ContextCommand::Write { run, fence, put, now, answer })).await
    }

    async fn snapshot(&self, run: &RunId, now: Timestamp) -> Result<Snapshot, ContextError> {
        Ok(self.board(run).await?.snapshot(now))
    }

    fn watch(&self, run: &RunId, after: Version) -> BoxStream<'static, Result<ContextEvent, ContextError>> {
        let (store, name) = (self.clone(), run.clone());
        follow(Follow {
            bell: self.0.context_bells.hear(run),
            after: after.0,
            read: Box::new(move |after| {
                let (store, name) = (store.clone(), name.clone());
                async move { Ok(store.board(&name).await?.changes(Version(after))) }.boxed()
            }),
            place: |event: &ContextEvent| event.version.0,
            is_last: |_| false,
        })
    }

    async fn expire(&self, run: &RunId, fence: Fence, now: Timestamp) -> Result<u64, ContextError> {
        let run = run.clone();
        self.0.queue.ask(|answer| Command::Context(ContextCommand::Expire { run, fence, now, answer })).await
    }

    async fn remove(&self, run: &RunId, fence: Fence) -> Result<(), ContextError> {
        let (name, bells) = (run.clone(), &self.0.context_bells);
        self.0.queue.ask(|answer| Command::Context(ContextCommand::Remove { run: name, fence, answer })).await?;
        bells.take_down(run);
        Ok(())
    }
}
