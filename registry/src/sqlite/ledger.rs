//! Usage and money in SQLite: decided in the ledger's state, which all callers share, and written as
//! sums with the next commit.

use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{MicroUsd, Timestamp};
use sqlx::sqlite::SqliteRow;

use crate::error::StoreError;
use crate::group_commit::LINGER;
use crate::ledger::deltas::{CostEntry, CostKey};
use crate::ledger::reserve::{LockLedger, reserve};
use crate::ledger::state::LedgerState;
use crate::ledger::usage::day_of;
use crate::ledger::{
    Amount, CostRow, Ledger, Periods, RequestKind, Reservation, ReservationId, ReserveError, ReserveRequest,
    Settlement, UsageKey, UsageSummary,
};
use crate::sqlite::columns::Columns as _;
use crate::sqlite::command::WriteCommand;
use crate::sqlite::commit::Commit;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::writer_state::WriterState;

use rows::{actual_amount, estimated_amount};

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

/// Cancels a reservation on drop, unless its commit succeeded.
struct ReserveGuard<'a> {
    store: &'a StoreHandle,
    id: Option<ReservationId>,
}

impl Drop for ReserveGuard<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.store.ledger().cancel_reservation(id, self.store.clock.now());
            flush_soon(self.store);
        }
    }
}

fn flush_soon(store: &StoreHandle) {
    if let Err(error) = store.queue.try_send(FlushLedger) {
        // The next commit, or the recovery at the next start, has the same effect.
        tracing::debug!(error = %error, "the ledger's changes are written with the next commit");
    }
}

impl LockLedger for StoreHandle {
    fn with_state<R>(&self, change: impl FnOnce(&mut LedgerState, Timestamp) -> R) -> R {
        change(&mut self.ledger(), self.clock.now())
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn count(
        &self,
        key: &UsageKey,
        kind: RequestKind,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        Ok(self.0.ledger().count(key, kind, periods, now))
    }

    async fn usage(&self, key: &UsageKey, periods: Periods, now: Timestamp) -> Result<UsageSummary, StoreError> {
        Ok(self.0.ledger().usage(key, periods, now))
    }

    async fn reserve(
        &self,
        request: ReserveRequest,
        wait_max: Duration,
        now: Timestamp,
    ) -> Result<Reservation, ReserveError> {
        let (key, upper_bound) = (request.key.clone(), request.upper_bound);
        let id = reserve(&self.0, request, wait_max, now).await?;
        let mut guard = ReserveGuard { store: &self.0, id: Some(id) };
        self.0.flush().await?;
        guard.id = None;
        let store = self.0.clone();
        let settle_as_estimated = move |id| {
            store.ledger().settle(id, Settlement::Estimated, store.clock.now());
            flush_soon(&store);
        };
        Ok(Reservation::new(id, key, upper_bound, Some(Box::new(settle_as_estimated))))
    }

    async fn settle(
        &self,
        reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Amount, StoreError> {
        let amount = self.0.ledger().settle(reservation.into_id(), settlement, now);
        self.0.queue.send(FlushLedger).await?;
        Ok(amount)
    }

    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError> {
        self.0.flush_if_open().await?;
        let rows = sqlx::query("SELECT * FROM costs WHERE day >= ? ORDER BY day, tenant, user, agent, workflow")
            .bind(since.map_or(i64::MIN, day_of))
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        rows.iter().map(decode_cost).collect()
    }
}

fn decode_cost(row: &SqliteRow) -> Result<CostRow, StoreError> {
    let workflow = row.text("workflow")?;
    let key = CostKey {
        day: row.int("day")?,
        tenant: row.id("tenant")?,
        user: row.id("user")?,
        agent: row.id("agent")?,
        workflow: if workflow.is_empty() { None } else { Some(row.id("workflow")?) },
    };
    let cost = CostEntry {
        calls: row.number("calls")?,
        actual: actual_amount(row)?,
        calls_estimated: row.number("calls_estimated")?,
        estimated: estimated_amount(row)?,
        calls_assumed: row.number("calls_assumed")?,
        assumed: MicroUsd(row.number("assumed_cost")?),
    };
    Ok(key.to_row(&cost))
}
