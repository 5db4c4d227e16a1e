//! The view of shared contexts in this process. It serves the embedded mode of every store: what it has is in the
//! journals too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContextKey, RunId, Timestamp};

use crate::context::{CONTEXT_VIEW_TTL, ContextData, ContextValue, ContextView, Snapshot, Version, ViewError};
use crate::runs::Fence;

/// The view of one context.
struct ViewedContext {
    fence: Fence,
    data: ContextData,
    used_at: Timestamp,
}

#[derive(Default)]
struct Views {
    by_run: HashMap<RunId, ViewedContext>,
    /// Views after the last removal of unused ones.
    used: usize,
}

/// The views of this process.
#[derive(Default)]
struct InMemoryContextView(Mutex<Views>);

/// Creates the view of this process.
pub(crate) fn in_memory_context_view() -> Arc<dyn ContextView> {
    Arc::new(InMemoryContextView::default())
}

impl InMemoryContextView {
    fn views(&self) -> MutexGuard<'_, Views> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Views {
    /// Removes the views that were not used for too long, whenever the number of views has doubled.
    fn remove_unused(&mut self, now: Timestamp) {
        if self.by_run.len() < self.used.saturating_mul(2).max(64) {
            return;
        }
        self.by_run.retain(|_, view| now.saturating_duration_since(view.used_at) < CONTEXT_VIEW_TTL);
        self.used = self.by_run.len();
    }
}

#[async_trait]
impl ContextView for InMemoryContextView {
    async fn claim(&self, run: &RunId, fence: Fence, data: &ContextData, now: Timestamp) -> Result<(), ViewError> {
        let mut views = self.views();
        match views.by_run.get(run) {
            Some(view) if view.fence > fence => return Err(ViewError::Fenced),
            Some(view) if view.fence == fence && view.data.version() > data.version() => return Ok(()),
            Some(_) | None => {}
        }
        views.remove_unused(now);
        views.by_run.insert(run.clone(), ViewedContext { fence, data: data.clone(), used_at: now });
        Ok(())
    }

    async fn apply(
        &self,
        run: &RunId,
        fence: Fence,
        after: Version,
        changes: &[(ContextKey, ContextValue)],
        now: Timestamp,
    ) -> Result<(), ViewError> {
        let mut views = self.views();
        let view = views.by_run.get_mut(run).ok_or(ViewError::Lost)?;
        if view.fence > fence {
            return Err(ViewError::Fenced);
        }
        if view.fence < fence || view.data.version() < after {
            return Err(ViewError::Lost);
        }
        view.used_at = now;
        for (key, value) in changes {
            if value.version > view.data.version() {
                view.data.insert(key.clone(), value.clone());
            }
        }
        Ok(())
    }

    async fn read(
        &self,
        run: &RunId,
        keys: &[ContextKey],
        at_least: Version,
        now: Timestamp,
    ) -> Result<Snapshot, ViewError> {
        let mut views = self.views();
        let view = views.by_run.get_mut(run).filter(|view| view.data.version() >= at_least).ok_or(ViewError::Lost)?;
        view.used_at = now;
        Ok(view.data.snapshot(keys, now))
    }

    async fn remove(&self, run: &RunId, fence: Fence) -> Result<(), ViewError> {
        let mut views = self.views();
        if views.by_run.get(run).is_some_and(|view| view.fence == fence) {
            views.by_run.remove(run);
        }
        Ok(())
    }
}
