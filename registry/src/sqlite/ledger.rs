//! Usage and money in SQLite: decided in the book, which all callers share, and written by sums
//! with whatever is committed next.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{CallKey, MicroUsd, Timestamp};

use crate::error::StoreError;
use crate::ledger::deltas::{CostEntry, CostKey};
use crate::ledger::usage::day_of;
use crate::ledger::{
    Account, Amount, CostRow, Ledger, Limit, Periods, Reservation, ReservationId, ReserveError, Settlement, UsageKey,
    UsageSummary,
};
use crate::sqlite::commands::Command;
use crate::sqlite::runs::row::id;
use crate::sqlite::{Shared, failed};

use write::{amount_of, estimated_of, int, number, text};

pub(super) mod write;

/// The ledger.
pub(super) struct SqliteLedger(pub(super) Arc<Shared>);

/// A reservation whose commit is awaited: if it fails, or nobody waits any more, it never was.
struct ReserveGuard<'a> {
    shared: &'a Shared,
    id: Option<ReservationId>,
}

impl Drop for ReserveGuard<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.shared.state().cancel_reservation(id);
            nudge(self.shared);
        }
    }
}

/// Lets the writer write what has changed, soon.
fn nudge(shared: &Shared) {
    if let Err(error) = shared.queue.try_send(Command::FlushLedger) {
        // The next commit, or the next start, does the same.
        tracing::debug!(error = %error, "the ledger waits for the next commit");
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn count(&self, who: &UsageKey, over: Periods, now: Timestamp) -> Result<UsageSummary, StoreError> {
        Ok(self.0.state().count(who, over, now))
    }

    async fn usage(&self, who: &UsageKey, over: Periods, now: Timestamp) -> Result<UsageSummary, StoreError> {
        Ok(self.0.state().usage(who, over, now))
    }

    async fn reserve(
        &self,
        account: &Account,
        limits: &[Limit],
        worst: Amount,
        key: &CallKey,
        now: Timestamp,
    ) -> Result<Reservation, ReserveError> {
        let id = self.0.state().reserve(account, limits, worst, key, now)?;
        let mut pending = ReserveGuard { shared: &self.0, id: Some(id) };
        self.0.flush().await?;
        pending.id = None;
        let shared = self.0.clone();
        let abandoned = move |id| {
            shared.state().settle(id, Settlement::Estimated, shared.clock.now());
            nudge(&shared);
        };
        Ok(Reservation::new(id, key.clone(), worst, Some(Box::new(abandoned))))
    }

    async fn settle(
        &self,
        reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Amount, StoreError> {
        let booked = self.0.state().settle(reservation.into_id(), settlement, now);
        self.0.queue.send(Command::FlushLedger).await?;
        Ok(booked)
    }

    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError> {
        match self.0.flush().await {
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => return Err(error),
        }
        let rows = sqlx::query("SELECT * FROM costs WHERE day >= ? ORDER BY day, tenant, user, agent, workflow")
            .bind(since.map_or(i64::MIN, day_of))
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| failed(&error))?;
        rows.iter()
            .map(|row| {
                let workflow = text(row, "workflow")?;
                let key = CostKey {
                    day: int(row, "day")?,
                    tenant: id(text(row, "tenant")?)?,
                    user: id(text(row, "user")?)?,
                    agent: id(text(row, "agent")?)?,
                    workflow: Some(workflow).filter(|text| !text.is_empty()).map(id).transpose()?,
                };
                let spend = CostEntry {
                    calls: number(row, "calls")?,
                    actual: amount_of(row)?,
                    calls_estimated: number(row, "calls_estimated")?,
                    estimated: estimated_of(row)?,
                    calls_assumed: number(row, "calls_assumed")?,
                    assumed: MicroUsd(number(row, "assumed_cost")?),
                };
                Ok(key.to_row(&spend))
            })
            .collect()
    }
}
