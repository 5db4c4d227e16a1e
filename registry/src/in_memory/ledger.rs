//! Usage and money in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{Clock, Timestamp};

use crate::error::StoreError;
use crate::in_memory::shared::{Shared, lock};
use crate::ledger::deltas::{CostEntry, CostKey};
use crate::ledger::reserve::{LockLedger, reserve};
use crate::ledger::state::LedgerState;
use crate::ledger::usage::day_of;
use crate::ledger::{
    Amount, CostRow, Ledger, Periods, RequestKind, Reservation, ReservationId, ReserveError, ReserveRequest,
    Settlement, UsageKey, UsageSummary,
};

#[derive(Debug, Default)]
struct LedgerWithCosts {
    state: LedgerState,
    costs: BTreeMap<CostKey, CostEntry>,
}

impl LedgerWithCosts {
    fn settle(&mut self, id: ReservationId, settlement: Settlement, now: Timestamp) -> Amount {
        let amount = self.state.settle(id, settlement, now);
        for (key, cost) in self.state.drain_deltas().costs {
            self.costs.entry(key).or_default().add(&cost);
        }
        amount
    }
}

/// The ledger.
pub(super) struct InMemoryLedger {
    shared: Arc<Shared>,
    ledger: Arc<Mutex<LedgerWithCosts>>,
    clock: Arc<dyn Clock>,
}

impl InMemoryLedger {
    pub(super) fn new(shared: Arc<Shared>, clock: Arc<dyn Clock>) -> Self {
        Self { shared, ledger: Arc::default(), clock }
    }
}

impl LockLedger for InMemoryLedger {
    fn with_state<R>(&self, change: impl FnOnce(&mut LedgerState, Timestamp) -> R) -> R {
        change(&mut lock(&self.ledger).state, self.clock.now())
    }
}

#[async_trait]
impl Ledger for InMemoryLedger {
    async fn count(
        &self,
        key: &UsageKey,
        kind: RequestKind,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        self.shared.check_open()?;
        let mut ledger = lock(&self.ledger);
        let usage = ledger.state.count(key, kind, periods, now);
        // The changes are not written anywhere.
        ledger.state.drain_deltas();
        Ok(usage)
    }

    async fn usage(&self, key: &UsageKey, periods: Periods, now: Timestamp) -> Result<UsageSummary, StoreError> {
        Ok(lock(&self.ledger).state.usage(key, periods, now))
    }

    async fn reserve(
        &self,
        request: ReserveRequest,
        wait_max: Duration,
        now: Timestamp,
    ) -> Result<Reservation, ReserveError> {
        self.shared.check_open()?;
        let (key, upper_bound) = (request.key.clone(), request.upper_bound);
        let id = reserve(self, request, wait_max, now).await?;
        let (ledger, clock) = (self.ledger.clone(), self.clock.clone());
        let settle_as_estimated = move |id| {
            lock(&ledger).settle(id, Settlement::Estimated, clock.now());
        };
        Ok(Reservation::new(id, key, upper_bound, Some(Box::new(settle_as_estimated))))
    }

    async fn settle(
        &self,
        reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Amount, StoreError> {
        self.shared.check_open()?;
        Ok(lock(&self.ledger).settle(reservation.into_id(), settlement, now))
    }

    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError> {
        let first = since.map_or(i64::MIN, day_of);
        let ledger = lock(&self.ledger);
        Ok(ledger.costs.iter().filter(|(key, _)| key.day >= first).map(|(key, cost)| key.to_row(cost)).collect())
    }
}
