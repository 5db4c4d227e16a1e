//! Units in SQLite: the caller's thread encodes a unit, the writer decides it.

use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{RunId, Timestamp};

use crate::core::{CoreStore, PendingUnit, Unit};
use crate::error::StoreError;
use crate::group_commit::{CommitTiming, LINGER};
use crate::journal::JournalError;
use crate::runs::Fence;
use crate::sqlite::command::{Command, RecordActive, without_reply};
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::unit::QueuedUnit;

/// The writer of units.
pub(super) struct SqliteCore(pub(super) StoreHandle);

#[async_trait]
impl CoreStore for SqliteCore {
    async fn submit(&self, unit: Unit<'_>, timing: CommitTiming) -> Result<PendingUnit, StoreError> {
        let unit = QueuedUnit::encode(unit, timing.max_delay(), self.0.queue.clone())?;
        let submitted = self.0.queue.submit(|reply| Box::new(unit.with_reply(reply)) as Command).await;
        Ok(PendingUnit::submitted(submitted?))
    }

    async fn send(&self, unit: Unit<'_>) -> Result<(), StoreError> {
        let unit = QueuedUnit::encode(unit, LINGER, self.0.queue.clone())?;
        self.0.queue.send(Box::new(unit)).await
    }

    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.0.leases.renew(root, fence, Some(lease), now)?;
        if self.0.pods.take_due(now)
            && let Err(error) = self.0.queue.try_send(without_reply(RecordActive { now }))
        {
            // A later commit or renewal records it.
            tracing::debug!(error = %error, "the activity of this pod is not recorded");
        }
        Ok(())
    }
}
