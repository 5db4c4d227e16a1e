//! Usage and money in SQLite: decided in the ledger's state, which all callers share. Settlements are written by
//! their units, all else as sums with the next commit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{PrincipalId, Timestamp};

use crate::error::StoreError;
use crate::group_commit::LINGER;
use crate::ledger::decode::decode_cost;
use crate::ledger::reserve::{LockLedger, wait_for_budgets};
use crate::ledger::state::LedgerState;
use crate::ledger::usage::day_of;
use crate::ledger::{
    Budget, Charged, CostRow, Ledger, Periods, RequestKind, Reservation, ReservationRequest, ReserveError,
    ReserveTicket, Settled, Settlement, UsageSummary,
};
use crate::sqlite::command::{WriteCommand, without_reply};
use crate::sqlite::commit::Commit;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::{StoreHandle, WriterQueue};
use crate::sqlite::shared::Shared;
use crate::sqlite::writer_state::WriterState;

pub(super) mod rows;

/// The ledger.
pub(super) struct SqliteLedger(pub(super) StoreHandle);

/// Starts a commit soon, which writes the changes of the ledger as every commit does.
struct FlushLedger;

impl WriteCommand for FlushLedger {
    type Output = ();
    type Error = StoreError;

    fn max_delay(&self) -> Duration {
        LINGER
    }

    fn apply(self, _state: &mut WriterState, _commit: &mut Commit) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Writes the changes of the ledger soon.
pub(super) fn flush_soon(queue: &WriterQueue) {
    if let Err(error) = queue.try_send(without_reply(FlushLedger)) {
        // The next commit, or the recovery at the next start, has the same effect.
        tracing::debug!(error = %error, "the ledger's changes are written with the next commit");
    }
}

impl LockLedger for Arc<Shared> {
    fn with_state<R>(&self, change: impl FnOnce(&mut LedgerState, Timestamp) -> R) -> R {
        change(&mut self.ledger(), self.clock.now())
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn count(
        &self,
        principal: &PrincipalId,
        kind: RequestKind,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        Ok(self.0.ledger().count(principal, kind, periods, now))
    }

    async fn usage(
        &self,
        principal: &PrincipalId,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        Ok(self.0.ledger().usage(principal, periods, now))
    }

    async fn wait_for_budgets(
        &self,
        request: ReservationRequest<'_>,
        wait_max: Duration,
        now: Timestamp,
    ) -> Result<ReserveTicket, ReserveError> {
        wait_for_budgets(self.0.shared(), request.into(), wait_max, now).await
    }

    fn settle(&self, reservation: Reservation, settlement: Settlement, now: Timestamp) -> Settled {
        let record = self.0.ledger().settle(reservation.into_id(), settlement, now);
        let store = self.0.clone();
        Settled::new(record, move |record| {
            store.ledger().add_settlement(record);
            flush_soon(&store.queue);
        })
    }

    async fn charged(&self, budget: &Budget) -> Result<Charged, StoreError> {
        Ok(self.0.ledger().charged(budget))
    }

    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError> {
        self.0.flush_if_open().await?;
        let rows =
            sqlx::query("SELECT * FROM costs WHERE day >= ? ORDER BY day, issuer, tenant, user, agent, workflow")
                .bind(since.map_or(i64::MIN, day_of))
                .fetch_all(&self.0.readers)
                .await
                .map_err(|error| sqlx_error(&error))?;
        rows.iter().map(decode_cost).collect()
    }
}
