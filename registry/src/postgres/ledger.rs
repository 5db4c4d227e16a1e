//! Usage and money in PostgreSQL. Every reservation is decided by the accounts' lane, which locks the accounts that
//! it concerns; a settlement is written by its unit, and shown in the accounts soon after.

use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{PrincipalId, Timestamp};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::StoreError;
use crate::group_commit::COMMIT_WAIT_MAX;
use crate::ledger::decode::decode_cost;
use crate::ledger::usage::day_of;
use crate::ledger::{
    Budget, Charged, CostRow, Ledger, Periods, RequestKind, Reservation, ReservationRequest, ReserveError,
    ReserveTicket, Settled, Settlement, UsageSummary,
};
use crate::postgres::command::{AccountsCommand, Reserver};
use crate::postgres::error::sqlx_error;
use crate::postgres::handle::StoreHandle;

pub(super) mod open;
pub(super) mod settled;
pub(super) mod usage;

const SELECT_COSTS: &str = "SELECT *, user_id AS \"user\" FROM costs WHERE day >= $1 ORDER BY day, issuer COLLATE \"C\", \
                            tenant COLLATE \"C\", user_id COLLATE \"C\", agent COLLATE \"C\", workflow COLLATE \"C\"";

/// The ledger.
pub(super) struct PostgresLedger(pub(super) StoreHandle);

#[async_trait]
impl Ledger for PostgresLedger {
    async fn count(
        &self,
        principal: &PrincipalId,
        kind: RequestKind,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        self.0.check_open()?;
        self.0.usage.count(principal, kind, now);
        self.usage(principal, periods, now).await
    }

    async fn usage(
        &self,
        principal: &PrincipalId,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        if let Some(summary) = self.0.usage.recent(principal, periods, now) {
            return Ok(summary);
        }
        let read = |reply| AccountsCommand::Usage(principal.clone(), now, reply);
        self.0.accounts().request::<(), StoreError>(read).await?;
        Ok(self.0.usage.newest(principal, periods, now))
    }

    async fn wait_for_budgets(
        &self,
        request: ReservationRequest<'_>,
        wait_max: Duration,
        now: Timestamp,
    ) -> Result<ReserveTicket, ReserveError> {
        let (reply, ticket) = oneshot::channel();
        let reserver = Reserver::Call { reply, until: Instant::now() + wait_max };
        let (id, request) = (self.0.reservations.next_id(), request.into());
        self.0.accounts().send(AccountsCommand::Reserve { id, request, at: now, reserver }).await?;
        // The lane replies in time, unless it has ended or its database is away.
        match tokio::time::timeout(wait_max + COMMIT_WAIT_MAX, ticket).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(StoreError::Closed.into()),
            Err(_) => Err(StoreError::Timeout.into()),
        }
    }

    fn settle(&self, reservation: Reservation, settlement: Settlement, now: Timestamp) -> Settled {
        let record = self.0.reservations.settle(reservation.into_id(), settlement, now);
        if let Some(record) = &record {
            self.0.usage.settle(record);
        }
        let store = self.0.clone();
        Settled::new(record, move |record| store.send_settlement(record))
    }

    async fn charged(&self, budget: &Budget) -> Result<Charged, StoreError> {
        self.0.accounts().request(|reply| AccountsCommand::Charged(budget.clone(), reply)).await
    }

    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError> {
        self.0.flush_if_open().await?;
        let rows = sqlx::query(SELECT_COSTS)
            .bind(since.map_or(i64::MIN, day_of))
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        rows.iter().map(decode_cost).collect()
    }
}
