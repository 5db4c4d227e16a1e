//! A view whose operations are repeated when they fail, as the owner of a context does: a repetition has the effect of the
//! operation, whatever became of that.

use std::time::Duration;

use async_trait::async_trait;
use protocol::{ContextKey, RunId, Timestamp};

use super::*;
use crate::context::{ContextView, Snapshot};

/// How often an operation is executed at most.
const ATTEMPTS_MAX: usize = 500;
/// The least time between two attempts.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(10);

/// The view.
pub(super) struct RepeatingView(pub(super) Arc<dyn ContextView>);

macro_rules! repeat {
    ($operation:expr) => {{
        let mut attempts = tokio::time::interval(ATTEMPT_INTERVAL);
        for _ in 1..ATTEMPTS_MAX {
            attempts.tick().await;
            match $operation.await {
                Err(ViewError::Store(_)) => {}
                result => return result,
            }
        }
        $operation.await
    }};
}

#[async_trait]
impl ContextView for RepeatingView {
    async fn claim(&self, run: &RunId, fence: Fence, data: &ContextData, now: Timestamp) -> Result<(), ViewError> {
        repeat!(self.0.claim(run, fence, data, now))
    }

    async fn apply(
        &self,
        run: &RunId,
        fence: Fence,
        after: Version,
        changes: &[(ContextKey, ContextValue)],
        now: Timestamp,
    ) -> Result<(), ViewError> {
        repeat!(self.0.apply(run, fence, after, changes, now))
    }

    async fn read(
        &self,
        run: &RunId,
        keys: &[ContextKey],
        at_least: Version,
        now: Timestamp,
    ) -> Result<Snapshot, ViewError> {
        repeat!(self.0.read(run, keys, at_least, now))
    }

    async fn remove(&self, run: &RunId, fence: Fence) -> Result<(), ViewError> {
        repeat!(self.0.remove(run, fence))
    }
}
