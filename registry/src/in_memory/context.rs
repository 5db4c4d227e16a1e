//! Shared contexts in memory.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::FutureExt;
use futures::stream::BoxStream;
use greenroom_protocol as protocol;
use protocol::{ContextKey, RunId, Timestamp};

use crate::context::{ContextError, ContextEvent, ContextPut, ContextStore, Snapshot, Version, Versioned};
use crate::in_memory::shared::Shared;
use crate::notify::{TailSource, tail};
use crate::runs::Fence;

/// The shared contexts.
#[derive(Clone)]
pub(super) struct InMemoryContexts(pub(super) Arc<Shared>);

#[async_trait]
impl ContextStore for InMemoryContexts {
    async fn claim(&self, run: &RunId) -> Result<Fence, ContextError> {
        self.0.check_open()?;
        Ok(self.0.contexts().0.entry(run.clone()).or_default().claim())
    }

    async fn read(
        &self,
        run: &RunId,
        keys: &[ContextKey],
        now: Timestamp,
    ) -> Result<Vec<Option<Versioned>>, ContextError> {
        let contexts = self.0.contexts();
        let data = contexts.0.get(run);
        Ok(keys.iter().map(|key| data.and_then(|data| data.read(key, now))).collect())
    }

    async fn write(&self, run: &RunId, fence: Fence, put: ContextPut, now: Timestamp) -> Result<Version, ContextError> {
        self.0.check_open()?;
        let changed = self.0.contexts().data_mut(run)?.put(fence, put, now)?;
        self.0.context_notifiers.notify(run);
        Ok(changed.stored.version)
    }

    async fn snapshot(&self, run: &RunId, now: Timestamp) -> Result<Snapshot, ContextError> {
        Ok(self.0.contexts().0.get(run).map(|data| data.snapshot(now)).unwrap_or_default())
    }

    fn watch(&self, run: &RunId, after: Version) -> BoxStream<'static, Result<ContextEvent, ContextError>> {
        let (store, run_id) = (self.clone(), run.clone());
        tail(TailSource {
            notify: self.0.context_notifiers.subscribe(run),
            after: after.0,
            read: Box::new(move |after| {
                let changes = store.0.contexts().0.get(&run_id).map(|data| data.changes(Version(after)));
                futures::future::ready(Ok(changes.unwrap_or_default())).boxed()
            }),
            position: |event: &ContextEvent| event.version.0,
            is_last: |_| false,
        })
    }

    async fn expire(&self, run: &RunId, fence: Fence, now: Timestamp) -> Result<u64, ContextError> {
        self.0.check_open()?;
        let count = self.0.contexts().data_mut(run)?.expire(fence, now)?.len() as u64;
        if count > 0 {
            self.0.context_notifiers.notify(run);
        }
        Ok(count)
    }

    async fn remove(&self, run: &RunId, fence: Fence) -> Result<(), ContextError> {
        self.0.check_open()?;
        let mut contexts = self.0.contexts();
        contexts.data_mut(run)?.check_fence(fence)?;
        contexts.remove(run);
        self.0.context_notifiers.close(run);
        Ok(())
    }
}
