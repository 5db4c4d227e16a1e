//! Units in PostgreSQL: the caller's thread encodes a unit, its lane writes it.

use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{RunId, Timestamp};

use crate::core::{CoreStore, PendingUnit, Unit};
use crate::error::StoreError;
use crate::group_commit::{CommitTiming, LINGER};
use crate::journal::JournalError;
use crate::postgres::handle::StoreHandle;
use crate::postgres::unit::QueuedUnit;
use crate::runs::Fence;

/// The writer of units.
pub(super) struct PostgresCore(pub(super) StoreHandle);

#[async_trait]
impl CoreStore for PostgresCore {
    async fn submit(&self, unit: Unit<'_>, timing: CommitTiming) -> Result<PendingUnit, StoreError> {
        let (unit, needed) = QueuedUnit::encode(unit, timing.max_delay())?;
        self.0.submit(unit, needed).await
    }

    async fn send(&self, unit: Unit<'_>) -> Result<(), StoreError> {
        let (unit, needed) = QueuedUnit::encode(unit, LINGER)?;
        match needed {
            // Its reservation comes first; no caller waits for it.
            Some(_) => self.0.submit(unit, needed).await.map(drop),
            None => self.0.send(unit).await,
        }
    }

    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.0.check_open()?;
        self.0.leases.renew(root, fence, Some(lease), now)
    }
}
