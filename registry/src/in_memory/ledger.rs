//! Usage and money in memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::{PrincipalId, Timestamp};

use crate::error::StoreError;
use crate::in_memory::shared::Shared;
use crate::ledger::reserve::{LockLedger, wait_for_budgets};
use crate::ledger::state::LedgerState;
use crate::ledger::usage::day_of;
use crate::ledger::{
    Budget, Charged, CostRow, Ledger, Periods, RequestKind, Reservation, ReservationRequest, ReserveError,
    ReserveTicket, Settled, Settlement, UsageSummary,
};

/// The ledger.
pub(super) struct InMemoryLedger(pub(super) Arc<Shared>);

impl LockLedger for Arc<Shared> {
    fn with_state<R>(&self, change: impl FnOnce(&mut LedgerState, Timestamp) -> R) -> R {
        change(&mut self.ledger().state, self.clock.now())
    }
}

#[async_trait]
impl Ledger for InMemoryLedger {
    async fn count(
        &self,
        principal: &PrincipalId,
        kind: RequestKind,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        self.0.check_open()?;
        let mut ledger = self.0.ledger();
        let usage = ledger.state.count(principal, kind, periods, now);
        // The changes are not written anywhere.
        ledger.state.drain_deltas();
        Ok(usage)
    }

    async fn usage(
        &self,
        principal: &PrincipalId,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        Ok(self.0.ledger().state.usage(principal, periods, now))
    }

    async fn wait_for_budgets(
        &self,
        request: ReservationRequest<'_>,
        wait_max: Duration,
        now: Timestamp,
    ) -> Result<ReserveTicket, ReserveError> {
        self.0.check_open()?;
        wait_for_budgets(&self.0, request.into(), wait_max, now).await
    }

    fn settle(&self, reservation: Reservation, settlement: Settlement, now: Timestamp) -> Settled {
        let record = self.0.ledger().state.settle(reservation.into_id(), settlement, now);
        let shared = self.0.clone();
        Settled::new(record, move |record| shared.ledger().write(record))
    }

    async fn charged(&self, budget: &Budget) -> Result<Charged, StoreError> {
        Ok(self.0.ledger().state.charged(budget))
    }

    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError> {
        let first = since.map_or(i64::MIN, day_of);
        let ledger = self.0.ledger();
        Ok(ledger.costs.iter().filter(|(key, _)| key.day >= first).map(|(key, cost)| key.to_row(cost)).collect())
    }
}
