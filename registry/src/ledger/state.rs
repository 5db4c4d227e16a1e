//! The decisions of the ledger without a store: count, reserve in all budgets or in none, settle. One
//! lock around this state prevents concurrent calls from overspending together.

use std::collections::HashMap;

use greenroom_protocol as protocol;
use protocol::{CallKey, MicroUsd, Timestamp};

use crate::ledger::deltas::Deltas;
use crate::ledger::reservation::{ReservationId, ReservationRecord, SettlementRecord};
use crate::ledger::usage::{BudgetUsage, UsageCounts, Window, day_of, minute_of};
use crate::ledger::{
    Account, Amount, Budget, Charged, LIMITS_MAX, Limit, PERIOD_DAYS_MAX, Period, Periods, RequestKind, ReserveError,
    Settlement, UsageKey, UsageSummary,
};

/// Days after which the budget of an execution is removed; every retry of it has ended by then.
pub(crate) const EXECUTION_DAYS_MAX: i64 = 2;
/// Days without a call after which the budget of a run is removed.
pub(crate) const RUN_DAYS_MAX: i64 = 366;

/// All usage, spending and open reservations.
#[derive(Debug, Default)]
pub(crate) struct LedgerState {
    windows: HashMap<UsageKey, Window>,
    usages: HashMap<Budget, BudgetUsage>,
    reservations: HashMap<ReservationId, ReservationRecord>,
    last_id: u64,
    last_sweep_day: i64,
    deltas: Deltas,
}

impl LedgerState {
    /// Counts one request and returns the usage.
    pub(crate) fn count(
        &mut self,
        key: &UsageKey,
        kind: RequestKind,
        periods: Periods,
        now: Timestamp,
    ) -> UsageSummary {
        let counts = match kind {
            RequestKind::Call => UsageCounts { calls: 1, ..UsageCounts::default() },
            RequestKind::Query => UsageCounts { queries: 1, ..UsageCounts::default() },
        };
        self.add_minute(key, minute_of(now), counts);
        self.usage(key, periods, now)
    }

    /// Returns the usage without counting a request.
    pub(crate) fn usage(&self, key: &UsageKey, periods: Periods, now: Timestamp) -> UsageSummary {
        let hour = self.windows.get(key).map_or_else(UsageCounts::default, |window| window.sum(minute_of(now)));
        let spent = |budget, period| {
            self.usages.get(&budget).map_or_else(Amount::default, |usage| usage.spent(period, day_of(now)))
        };
        let tenant = spent(Budget::Tenant(key.tenant.clone()), periods.tenant);
        let user = spent(Budget::User(key.tenant.clone(), key.user.clone()), periods.user);
        UsageSummary {
            calls_hour: hour.calls,
            queries_hour: hour.queries,
            tokens_hour: hour.tokens,
            cost_hour: hour.cost,
            tokens_spent: user.tokens.total(),
            cost_spent: user.cost,
            tenant_tokens_spent: tenant.tokens.total(),
            tenant_cost_spent: tenant.cost,
        }
    }

    /// Returns what a budget has been charged.
    pub(crate) fn charged(&self, budget: &Budget) -> Charged {
        self.usages.get(budget).map_or_else(Charged::default, BudgetUsage::charged)
    }

    /// Rejects a reservation that would exceed a budget.
    pub(crate) fn check_reserve(
        &self,
        limits: &[Limit],
        upper_bound: Amount,
        now: Timestamp,
    ) -> Result<(), ReserveError> {
        let is_too_long = |limit: &Limit| matches!(limit.period, Period::Days(days) if days > PERIOD_DAYS_MAX);
        if limits.len() > LIMITS_MAX || limits.iter().any(is_too_long) {
            return Err(ReserveError::Bounds);
        }
        let today = day_of(now);
        let unused = BudgetUsage::default();
        for limit in limits {
            let usage = self.usages.get(&limit.budget).unwrap_or(&unused);
            if let Some(by) = usage.exceeded(limit, upper_bound, today) {
                return Err(ReserveError::Exceeded { budget: limit.budget.clone(), by });
            }
        }
        Ok(())
    }

    /// Reserves `upper_bound` in every budget of the account and of the limits, which were checked.
    pub(crate) fn reserve(
        &mut self,
        account: Account,
        limits: &[Limit],
        upper_bound: Amount,
        key: CallKey,
        now: Timestamp,
    ) -> ReservationId {
        self.last_id = self.last_id.saturating_add(1);
        let budgets = budgets_of(&account, limits);
        let id = ReservationId(self.last_id);
        let record = ReservationRecord { id, key, account, budgets, upper_bound, at: now };
        self.deltas.reserved.push(record.clone());
        self.add_reservation(record);
        id
    }

    /// Replaces a reservation by the actual usage of the call. The change must still be written. A reservation
    /// that is not open changes nothing.
    pub(crate) fn settle(
        &mut self,
        id: ReservationId,
        settlement: Settlement,
        now: Timestamp,
    ) -> Option<SettlementRecord> {
        let reservation = self.remove_reservation(id)?;
        let record = SettlementRecord { reservation, settlement, at: now };
        if settlement == Settlement::Unused {
            return Some(record);
        }
        let (amount, day) = (record.amount(), day_of(now));
        for budget in &record.reservation.budgets {
            self.usages.entry(budget.clone()).or_default().spend(day, amount);
        }
        let Account { tenant, user, .. } = &record.reservation.account;
        let usage_key = UsageKey { tenant: tenant.clone(), user: user.clone() };
        self.add_to_window(&usage_key, minute_of(now), UsageCounts::of_amount(amount));
        self.sweep(day);
        Some(record)
    }

    /// Writes a settlement with the next commit.
    pub(crate) fn add_settlement(&mut self, record: SettlementRecord) {
        self.deltas.add_settlement(record);
    }

    /// Settles every open reservation as estimated, after a crash.
    pub(crate) fn settle_outstanding(&mut self, now: Timestamp) -> u64 {
        let ids: Vec<_> = self.reservations.keys().copied().collect();
        for id in &ids {
            if let Some(record) = self.settle(*id, Settlement::Estimated, now) {
                self.add_settlement(record);
            }
        }
        ids.len() as u64
    }

    /// Returns the changes since the last call.
    pub(crate) fn drain_deltas(&mut self) -> Deltas {
        std::mem::take(&mut self.deltas)
    }

    /// Restores changes that could not be written.
    pub(crate) fn restore_deltas(&mut self, deltas: Deltas) {
        let later = self.drain_deltas();
        self.deltas = deltas;
        self.deltas.merge(later);
    }

    /// Restores a stored minute.
    pub(crate) fn restore_minute(&mut self, key: &UsageKey, minute: i64, counts: UsageCounts) {
        self.add_to_window(key, minute, counts);
    }

    /// Restores the spending of a budget on a day.
    pub(crate) fn restore_spent(&mut self, budget: Budget, day: i64, amount: Amount) {
        self.usages.entry(budget).or_default().spend(day, amount);
    }

    /// Restores a stored reservation that is not settled.
    pub(crate) fn restore_reservation(&mut self, record: ReservationRecord) {
        self.last_id = self.last_id.max(record.id.0);
        self.add_reservation(record);
    }

    fn add_minute(&mut self, key: &UsageKey, minute: i64, counts: UsageCounts) {
        self.add_to_window(key, minute, counts);
        self.deltas.add_minute(key, minute, counts);
    }

    fn add_to_window(&mut self, key: &UsageKey, minute: i64, counts: UsageCounts) {
        match self.windows.get_mut(key) {
            Some(window) => window.add(minute, counts),
            None => self.windows.entry(key.clone()).or_default().add(minute, counts),
        }
    }

    fn add_reservation(&mut self, record: ReservationRecord) {
        let day = day_of(record.at);
        for budget in &record.budgets {
            self.usages.entry(budget.clone()).or_default().reserve(day, record.upper_bound);
        }
        self.reservations.insert(record.id, record);
    }

    fn remove_reservation(&mut self, id: ReservationId) -> Option<ReservationRecord> {
        let record = self.reservations.remove(&id)?;
        for budget in &record.budgets {
            if let Some(usage) = self.usages.get_mut(budget) {
                usage.release(record.upper_bound);
            }
        }
        Some(record)
    }

    /// Removes, once a day, the budgets and windows that no request can use any more.
    fn sweep(&mut self, today: i64) {
        if self.last_sweep_day == today {
            return;
        }
        self.last_sweep_day = today;
        self.deltas.swept_on = Some(today);
        self.usages.retain(|budget, usage| {
            let days = match budget {
                Budget::Execution(_) => EXECUTION_DAYS_MAX,
                Budget::Run(_) => RUN_DAYS_MAX,
                Budget::Agent(_) | Budget::User(..) | Budget::Tenant(_) => return true,
            };
            !usage.is_settled() || usage.last_change_day() > today.saturating_sub(days)
        });
        let minute = today.saturating_mul(24 * 60);
        self.windows.retain(|_, window| window.sum(minute) != UsageCounts::default());
    }
}

/// Returns the budgets of the account and of the limits, each once.
fn budgets_of(account: &Account, limits: &[Limit]) -> Vec<Budget> {
    let mut budgets = vec![
        Budget::Tenant(account.tenant.clone()),
        Budget::User(account.tenant.clone(), account.user.clone()),
        Budget::Agent(account.agent.clone()),
    ];
    budgets.extend(account.run.clone().map(Budget::Run));
    for limit in limits {
        if !budgets.contains(&limit.budget) {
            budgets.push(limit.budget.clone());
        }
    }
    budgets
}

impl Amount {
    /// An amount of money without tokens.
    #[must_use]
    pub fn of_cost(cost: MicroUsd) -> Self {
        Self { cost, ..Self::default() }
    }
}

#[cfg(test)]
mod tests;
