//! The ledger's decisions, without a store: count, reserve in all budgets or in none, settle. One
//! lock around the book makes concurrent calls unable to overspend together.

use std::collections::HashMap;

use greenroom_protocol as protocol;
use protocol::{CallKey, MicroUsd, PriceBasis, Timestamp};

use crate::ledger::deltas::{CostEntry, CostKey, Deltas, ReservationRecord};
use crate::ledger::usage::{BudgetUsage, UsageCounts, Window, day_of, minute_of};
use crate::ledger::{
    Account, Amount, Budget, LIMITS_MAX, Limit, PERIOD_DAYS_MAX, Period, Periods, ReservationId, ReserveError,
    Settlement, UsageKey, UsageSummary,
};

/// Days after which an execution's budget is forgotten; nothing retries that late.
const EXECUTION_DAYS_MAX: i64 = 2;
/// Days without a call after which a run's budget is forgotten.
const RUN_DAYS_MAX: i64 = 366;

/// Everything that is used, spent and set aside.
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
    /// Counts one request, then answers.
    pub(crate) fn count(&mut self, who: &UsageKey, over: Periods, now: Timestamp) -> UsageSummary {
        self.add_minute(who, minute_of(now), UsageCounts { requests: 1, ..UsageCounts::default() });
        self.usage(who, over, now)
    }

    /// Answers without counting.
    pub(crate) fn usage(&self, who: &UsageKey, over: Periods, now: Timestamp) -> UsageSummary {
        let hour = self.windows.get(who).map_or_else(UsageCounts::default, |window| window.sum(minute_of(now)));
        let spent = |budget, period| {
            self.usages.get(&budget).map_or_else(Amount::default, |usage| usage.spent(period, day_of(now)))
        };
        let tenant = spent(Budget::Tenant(who.tenant.clone()), over.tenant);
        let user = spent(Budget::User(who.tenant.clone(), who.user.clone()), over.user);
        UsageSummary {
            requests_hour: hour.requests,
            tokens_hour: hour.tokens,
            cost_hour: hour.cost,
            tokens_spent: user.tokens.total(),
            cost_spent: user.cost,
            tenant_tokens_spent: tenant.tokens.total(),
            tenant_cost_spent: tenant.cost,
        }
    }

    /// Sets `worst` aside in every budget, or in none.
    pub(crate) fn reserve(
        &mut self,
        account: &Account,
        limits: &[Limit],
        worst: Amount,
        key: &CallKey,
        now: Timestamp,
    ) -> Result<ReservationId, ReserveError> {
        let is_too_long = |limit: &Limit| matches!(limit.period, Period::Days(days) if days > PERIOD_DAYS_MAX);
        if limits.len() > LIMITS_MAX || limits.iter().any(is_too_long) {
            return Err(ReserveError::Bounds);
        }
        let today = day_of(now);
        let untouched = BudgetUsage::default();
        for limit in limits {
            let usage = self.usages.get(&limit.budget).unwrap_or(&untouched);
            if let Some(by) = usage.exceeded(limit, worst, today) {
                return Err(ReserveError::Exceeded { budget: limit.budget.clone(), by });
            }
        }
        self.last_id = self.last_id.saturating_add(1);
        let budgets = budgets_of(account, limits);
        let id = ReservationId(self.last_id);
        let held =
            ReservationRecord { id, key: key.clone(), account: account.clone(), budgets, upper_bound: worst, at: now };
        self.deltas.reserved.push(held.clone());
        self.add_reservation(held);
        Ok(id)
    }

    /// Replaces a reservation by what the call came to, and answers what was booked. One that is
    /// not held any more changes nothing.
    pub(crate) fn settle(&mut self, id: ReservationId, settlement: Settlement, now: Timestamp) -> Amount {
        let Some(held) = self.remove_reservation(id) else { return Amount::default() };
        self.deltas.settled.push(id);
        let (amount, mut spend) = match settlement {
            Settlement::Unused => return Amount::default(),
            Settlement::Actual(actual) => (actual, CostEntry { calls: 1, actual, ..CostEntry::default() }),
            Settlement::Estimated => (
                held.upper_bound,
                CostEntry { calls_estimated: 1, estimated: held.upper_bound, ..CostEntry::default() },
            ),
        };
        let day = day_of(now);
        for budget in &held.budgets {
            self.usages.entry(budget.clone()).or_default().spend(day, amount);
            self.deltas.add_budget(budget, amount, day);
        }
        let Account { tenant, user, agent, workflow, run: _, price } = held.account;
        if price == PriceBasis::Assumed {
            (spend.calls_assumed, spend.assumed) = (1, amount.cost);
        }
        let who = UsageKey { tenant: tenant.clone(), user: user.clone() };
        let counts = UsageCounts { requests: 0, tokens: amount.tokens.total(), cost: amount.cost };
        self.add_minute(&who, minute_of(now), counts);
        self.deltas.add_cost(CostKey { day, tenant, user, agent, workflow }, &spend);
        self.sweep(day);
        amount
    }

    /// Takes a reservation back that could not be written, as if it had never been made.
    pub(crate) fn cancel_reservation(&mut self, id: ReservationId) {
        self.remove_reservation(id);
        self.deltas.reserved.retain(|held| held.id != id);
        self.deltas.settled.push(id);
    }

    /// Settles every reservation that is still held, as estimated: what a crash left.
    pub(crate) fn settle_outstanding(&mut self, now: Timestamp) -> u64 {
        let ids: Vec<_> = self.reservations.keys().copied().collect();
        for id in &ids {
            self.settle(*id, Settlement::Estimated, now);
        }
        ids.len() as u64
    }

    /// What changed since this was last asked.
    pub(crate) fn drain_deltas(&mut self) -> Deltas {
        std::mem::take(&mut self.deltas)
    }

    /// Puts changes back that could not be written.
    pub(crate) fn restore_deltas(&mut self, deltas: Deltas) {
        let later = self.drain_deltas();
        self.deltas = deltas;
        self.deltas.merge(later);
    }

    /// Takes in a minute that was kept.
    pub(crate) fn restore_minute(&mut self, who: &UsageKey, minute: i64, counts: UsageCounts) {
        self.windows.entry(who.clone()).or_default().add(minute, counts);
    }

    /// Takes in what a budget had spent on a day.
    pub(crate) fn restore_spent(&mut self, budget: Budget, day: i64, amount: Amount) {
        self.usages.entry(budget).or_default().spend(day, amount);
    }

    /// Takes in a reservation that was kept and not settled.
    pub(crate) fn restore_reservation(&mut self, held: ReservationRecord) {
        self.last_id = self.last_id.max(held.id.0);
        self.add_reservation(held);
    }

    fn add_minute(&mut self, who: &UsageKey, minute: i64, counts: UsageCounts) {
        if counts == UsageCounts::default() {
            return;
        }
        match self.windows.get_mut(who) {
            Some(window) => window.add(minute, counts),
            None => self.windows.entry(who.clone()).or_default().add(minute, counts),
        }
        *self.deltas.minutes.entry((who.clone(), minute)).or_default() += counts;
    }

    fn add_reservation(&mut self, held: ReservationRecord) {
        let day = day_of(held.at);
        for budget in &held.budgets {
            self.usages.entry(budget.clone()).or_default().reserve(day, held.upper_bound);
        }
        self.reservations.insert(held.id, held);
    }

    fn remove_reservation(&mut self, id: ReservationId) -> Option<ReservationRecord> {
        let held = self.reservations.remove(&id)?;
        for budget in &held.budgets {
            if let Some(usage) = self.usages.get_mut(budget) {
                usage.release(held.upper_bound);
            }
        }
        Some(held)
    }

    /// Forgets, once a day, what nothing can ask for any more.
    fn sweep(&mut self, today: i64) {
        if self.last_sweep_day == today {
            return;
        }
        self.last_sweep_day = today;
        self.usages.retain(|budget, usage| {
            let days = match budget {
                Budget::Execution(_) => EXECUTION_DAYS_MAX,
                Budget::Run(_) => RUN_DAYS_MAX,
                Budget::Agent(_) | Budget::User(..) | Budget::Tenant(_) => return true,
            };
            !usage.is_settled() || usage.touched() > today.saturating_sub(days)
        });
        let minute = today.saturating_mul(24 * 60);
        self.windows.retain(|_, window| window.sum(minute) != UsageCounts::default());
    }
}

/// The account's budgets and those of the limits, each once.
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
    /// An amount of money alone.
    #[must_use]
    pub fn of_cost(cost: MicroUsd) -> Self {
        Self { cost, ..Self::default() }
    }
}

#[cfg(test)]
mod tests;
