//! A store that rejects units of a test's choice.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::{RunId, Timestamp};
use greenroom_registry::core::{CoreStore, PendingUnit, Unit, UnitError};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::journal::JournalError;
use greenroom_registry::runs::Fence;
use greenroom_registry::{StoreError, Stores};

/// These stores, without the units for which `reject` returns an error. As on a disk, the error is known only after
/// the submission.
pub(crate) fn rejecting(
    stores: Stores,
    reject: impl Fn(&Unit<'_>) -> Option<UnitError> + Send + Sync + 'static,
) -> Stores {
    let core = Arc::new(RejectingStore { inner: stores.core.clone(), reject });
    Stores { core, ..stores }
}

struct RejectingStore<F> {
    inner: Arc<dyn CoreStore>,
    reject: F,
}

#[async_trait]
impl<F: Fn(&Unit<'_>) -> Option<UnitError> + Send + Sync> CoreStore for RejectingStore<F> {
    async fn submit(&self, unit: Unit<'_>, timing: CommitTiming) -> Result<PendingUnit, StoreError> {
        match (self.reject)(&unit) {
            Some(error) => Ok(PendingUnit::resolved(Err(error))),
            None => self.inner.submit(unit, timing).await,
        }
    }

    async fn send(&self, unit: Unit<'_>) -> Result<(), StoreError> {
        self.inner.send(unit).await
    }

    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.inner.renew(root, fence, lease, now).await
    }
}
