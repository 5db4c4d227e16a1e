//! Shared contexts in memory.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::FutureExt;
use futures::stream::BoxStream;
use greenroom_protocol as protocol;
use protocol::{ContextKey, RunId, Timestamp};

use crate::artifacts::hash_scan::Names;
use crate::context::data::Board;
use crate::context::{ContextError, ContextEvent, ContextPut, ContextStore, Snapshot, Version, Versioned};
use crate::error::StoreError;
use crate::in_memory::Shared;
use crate::notify::{Follow, follow};
use crate::runs::Fence;

/// Every context.
#[derive(Debug, Default)]
pub(super) struct Contexts(HashMap<RunId, Board>);

impl Contexts {
    /// Shows every text that may name an artifact.
    pub(super) fn tell(&self, names: &mut Names) -> Result<(), StoreError> {
        let slots = self.0.values().flat_map(|board| board.slots.values());
        for value in slots.filter_map(|slot| slot.value.as_ref()) {
            names.read(&serde_json::to_vec(value)?);
        }
        Ok(())
    }

    /// Forgets one.
    pub(super) fn forget(&mut self, run: &RunId) {
        self.0.remove(run);
    }

    fn board_mut(&mut self, run: &RunId) -> Result<&mut Board, ContextError> {
        self.0.get_mut(run).ok_or(ContextError::Unknown)
    }
}

/// The contexts.
#[derive(Debug, Clone)]
pub(super) struct MemoryContext(pub(super) Arc<Shared>);

#[async_trait]
impl ContextStore for MemoryContext {
    async fn claim(&self, run: &RunId) -> Result<Fence, ContextError> {
        self.0.admit()?;
        Ok(self.0.contexts().0.entry(run.clone()).or_default().claim())
    }

    async fn read(
        &self,
        run: &RunId,
        keys: &[ContextKey],
        now: Timestamp,
    ) -> Result<Vec<Option<Versioned>>, ContextError> {
        let contexts = self.0.contexts();
        let board = contexts.0.get(run);
        Ok(keys.iter().map(|key| board.and_then(|board| board.read(key, now))).collect())
    }

    async fn write(&self, run: &RunId, fence: Fence, put: ContextPut, now: Timestamp) -> Result<Version, ContextError> {
        self.0.admit()?;
        let changed = self.0.contexts().board_mut(run)?.put(fence, put, now)?;
        self.0.context_bells.ring(run);
        Ok(changed.slot.version)
    }

    async fn snapshot(&self, run: &RunId, now: Timestamp) -> Result<Snapshot, ContextError> {
        Ok(self.0.contexts().0.get(run).map(|board| board.snapshot(now)).unwrap_or_default())
    }

    fn watch(&self, run: &RunId, after: Version) -> BoxStream<'static, Result<ContextEvent, ContextError>> {
        let (store, name) = (self.clone(), run.clone());
        follow(Follow {
            bell: self.0.context_bells.hear(run),
            after: after.0,
            read: Box::new(move |after| {
                let changes = store.0.contexts().0.get(&name).map(|board| board.changes(Version(after)));
                futures::future::ready(Ok(changes.unwrap_or_default())).boxed()
            }),
            place: |event: &ContextEvent| event.version.0,
            is_last: |_| false,
        })
    }

    async fn expire(&self, run: &RunId, fence: Fence, now: Timestamp) -> Result<u64, ContextError> {
        self.0.admit()?;
        let gone = self.0.contexts().board_mut(run)?.expire(fence, now)?.len() as u64;
        if gone > 0 {
            self.0.context_bells.ring(run);
        }
        Ok(gone)
    }

    async fn remove(&self, run: &RunId, fence: Fence) -> Result<(), ContextError> {
        self.0.admit()?;
        let mut contexts = self.0.contexts();
        contexts.board_mut(run)?.admit(fence)?;
        contexts.forget(run);
        self.0.context_bells.take_down(run);
        Ok(())
    }
}
