//! Decorators of the store of units and of the ledger: each write and each read of usage is reported to the hook.

use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::{PrincipalId, RunId, Timestamp};
use greenroom_registry::StoreError;
use greenroom_registry::core::{CoreStore, PendingUnit, Unit};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::journal::JournalError;
use greenroom_registry::ledger::{
    Budget, Charged, CostRow, Ledger, Periods, RequestKind, Reservation, ReservationRequest, ReserveError,
    ReserveTicket, Settled, Settlement, UsageSummary,
};
use greenroom_registry::runs::Fence;

use super::{Hooked, HookedRead};

#[async_trait]
impl CoreStore for Hooked<dyn CoreStore> {
    async fn submit(&self, unit: Unit<'_>, timing: CommitTiming) -> Result<PendingUnit, StoreError> {
        let is_crash_point = self.hook.before_write();
        let pending = self.inner.submit(unit, timing).await?;
        if is_crash_point {
            // A unit that is not taken is a crash point too.
            let _ = pending.wait().await;
            std::process::abort();
        }
        Ok(pending)
    }

    async fn send(&self, unit: Unit<'_>) -> Result<(), StoreError> {
        self.write_through(self.inner.send(unit)).await
    }

    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.write_through(self.inner.renew(root, fence, lease, now)).await
    }
}

#[async_trait]
impl Ledger for Hooked<dyn Ledger> {
    async fn count(
        &self,
        principal: &PrincipalId,
        kind: RequestKind,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        self.hook.before_read(HookedRead::Usage)?;
        self.write_through(self.inner.count(principal, kind, periods, now)).await
    }

    async fn usage(
        &self,
        principal: &PrincipalId,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        self.hook.before_read(HookedRead::Usage)?;
        self.inner.usage(principal, periods, now).await
    }

    async fn wait_for_budgets(
        &self,
        request: ReservationRequest<'_>,
        wait_max: Duration,
        now: Timestamp,
    ) -> Result<ReserveTicket, ReserveError> {
        // It writes nothing.
        self.inner.wait_for_budgets(request, wait_max, now).await
    }

    fn settle(&self, reservation: Reservation, settlement: Settlement, now: Timestamp) -> Settled {
        self.inner.settle(reservation, settlement, now)
    }

    async fn charged(&self, budget: &Budget) -> Result<Charged, StoreError> {
        self.inner.charged(budget).await
    }

    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError> {
        self.inner.costs(since).await
    }
}
