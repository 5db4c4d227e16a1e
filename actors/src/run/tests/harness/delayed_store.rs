//! A store whose replies to units of a test's choice come late, as if its server were away until then.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::{RunId, Timestamp};
use greenroom_registry::core::{CoreStore, PendingUnit, Unit};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::journal::JournalError;
use greenroom_registry::runs::Fence;
use greenroom_registry::{StoreError, Stores};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::pipeline::Gate;

/// These stores, which reply to the units that `is_delayed` selects once the gate is open.
pub(crate) fn delayed(
    stores: Stores,
    gate: Gate,
    is_delayed: impl Fn(&Unit<'_>) -> bool + Send + Sync + 'static,
) -> Stores {
    let core = Arc::new(DelayedStore { inner: stores.core.clone(), gate, is_delayed, replies: Mutex::default() });
    Stores { core, ..stores }
}

struct DelayedStore<F> {
    inner: Arc<dyn CoreStore>,
    gate: Gate,
    is_delayed: F,
    replies: Mutex<JoinSet<()>>,
}

#[async_trait]
impl<F: Fn(&Unit<'_>) -> bool + Send + Sync> CoreStore for DelayedStore<F> {
    async fn submit(&self, unit: Unit<'_>, timing: CommitTiming) -> Result<PendingUnit, StoreError> {
        let is_delayed = (self.is_delayed)(&unit);
        let pending = self.inner.submit(unit, timing).await?;
        if !is_delayed {
            return Ok(pending);
        }
        let (sender, outcome) = oneshot::channel();
        let gate = self.gate.clone();
        self.replies.lock().unwrap().spawn(async move {
            let result = pending.wait().await;
            gate.pass().await;
            // Its caller may not wait any more.
            drop(sender.send(result));
        });
        Ok(PendingUnit::for_test(outcome))
    }

    async fn send(&self, unit: Unit<'_>) -> Result<(), StoreError> {
        self.inner.send(unit).await
    }

    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.inner.renew(root, fence, lease, now).await
    }
}
