//! The decisions of the ledger without a store: count, reserve in all budgets or in none, settle. One
//! lock around this state prevents concurrent calls from overspending together.

use std::collections::{HashMap, HashSet};

use greenroom_protocol as protocol;
use protocol::{MicroUsd, PrincipalId, RunId, Timestamp};

use crate::ledger::deltas::Deltas;
use crate::ledger::reservation::{ReservationId, ReservationRecord, SettlementRecord};
use crate::ledger::usage::{BudgetUsage, UsageCounts, Window, day_of, minute_of};
use crate::ledger::waiting::{Arrival, OwnedRequest, ReserveOutcome, WaitingCalls};
use crate::ledger::{
    Account, Amount, Budget, Charged, ChargedModels, LIMITS_MAX, Limit, PERIOD_DAYS_MAX, Period, Periods, RequestKind,
    ReserveError, Settlement, UsageSummary, WAITING_MAX,
};

/// Days after which the budget of an execution is removed; every retry of it has ended by then.
pub(crate) const EXECUTION_DAYS_MAX: i64 = 2;
/// Days without a call after which the budget of a run is removed.
pub(crate) const RUN_DAYS_MAX: i64 = 366;

/// All usage, spending and open reservations.
#[derive(Debug, Default)]
pub(crate) struct LedgerState {
    windows: HashMap<PrincipalId, Window>,
    usages: HashMap<Budget, BudgetUsage>,
    /// Those that were confirmed, and those whose unit is not decided yet.
    reservations: HashMap<ReservationId, ReservationRecord>,
    waiting: WaitingCalls,
    /// Budgets of runs that have ended while calls still had reservations of them.
    ended: HashSet<Budget>,
    last_id: u64,
    last_sweep_day: i64,
    deltas: Deltas,
}

impl LedgerState {
    /// Counts one request and returns the usage.
    pub(crate) fn count(
        &mut self,
        principal: &PrincipalId,
        kind: RequestKind,
        periods: Periods,
        now: Timestamp,
    ) -> UsageSummary {
        let counts = match kind {
            RequestKind::Call => UsageCounts { calls: 1, ..UsageCounts::default() },
            RequestKind::Query => UsageCounts { queries: 1, ..UsageCounts::default() },
        };
        self.add_minute(principal, minute_of(now), counts);
        self.usage(principal, periods, now)
    }

    /// Returns the usage without counting a request.
    pub(crate) fn usage(&self, principal: &PrincipalId, periods: Periods, now: Timestamp) -> UsageSummary {
        let hour = self.windows.get(principal).map_or_else(UsageCounts::default, |window| window.sum(minute_of(now)));
        let spent = |budget, period| {
            self.usages.get(&budget).map_or_else(Amount::default, |usage| usage.spent(period, day_of(now)))
        };
        let tenant = spent(Budget::Tenant(principal.tenant.clone()), periods.tenant);
        let user = spent(Budget::User(principal.clone()), periods.user);
        hour.summary(user, tenant)
    }

    /// Returns what a budget has been charged, with the models of calls in flight too.
    pub(crate) fn charged(&self, budget: &Budget) -> Charged {
        let Some(usage) = self.usages.get(budget) else { return Charged::default() };
        let mut charged = usage.charged();
        if budget.has_row() && !usage.is_settled() {
            let open = self.reservations.values().filter(|record| record.budgets.contains(budget));
            open.for_each(|record| charged.models.add(&record.account.model, record.account.price));
        }
        charged
    }

    /// Reserves the worst case of a call in every budget of its account and of its limits, or in none. A call that would
    /// overtake a call that waits for one of its budgets is rejected. The unit of the call must confirm the reservation,
    /// or cancel it.
    pub(crate) fn reserve(&mut self, request: OwnedRequest, now: Timestamp) -> Result<ReservationId, ReserveError> {
        let OwnedRequest { limits, upper_bound, .. } = &request;
        self.check_limits(limits, *upper_bound, now)?;
        match self.waiting.first_queue(limits) {
            Some(budget) => Err(self.contended(budget, limits, *upper_bound, now)),
            None => Ok(self.add_request(request, now)),
        }
    }

    /// As [`LedgerState::reserve`], but a call that would fit but for the reservations of others waits for them, and so
    /// does one that would overtake a call that waits for one of its budgets.
    pub(crate) fn reserve_or_wait(
        &mut self,
        request: OwnedRequest,
        now: Timestamp,
    ) -> Result<ReserveOutcome, ReserveError> {
        let OwnedRequest { limits, upper_bound, .. } = &request;
        let checked = self.check_limits(limits, *upper_bound, now);
        let queue = self.waiting.first_queue(limits).cloned();
        let (queue, error) = match (checked, queue) {
            (Ok(()), None) => return Ok(ReserveOutcome::Reserved(self.add_request(request, now))),
            (Ok(()), Some(queue)) => {
                let error = self.contended(&queue, limits, *upper_bound, now);
                (queue, error)
            }
            (Err(ReserveError::Exceeded { budget, by }), queue) if by.may_fit_later() => {
                (queue.unwrap_or_else(|| budget.clone()), ReserveError::Exceeded { budget, by })
            }
            (Err(error), _) => return Err(error),
        };
        if self.waiting.count() >= WAITING_MAX {
            return Err(error);
        }
        Ok(self.waiting.push(queue, request, error))
    }

    /// The error of a call that waits behind others for this budget.
    fn contended(&self, budget: &Budget, limits: &[Limit], upper_bound: Amount, now: Timestamp) -> ReserveError {
        let unused = BudgetUsage::default();
        let usage = self.usages.get(budget).unwrap_or(&unused);
        let limit = limits.iter().find(|limit| limit.budget == *budget);
        match limit.map(|limit| usage.compare(limit, upper_bound, day_of(now))) {
            Some(by) => ReserveError::Exceeded { budget: budget.clone(), by },
            None => ReserveError::Bounds,
        }
    }

    /// Removes a call whose caller does not wait any more, and returns the error that it waited with. Those behind it
    /// may be served now.
    pub(crate) fn stop_waiting(&mut self, arrival: Arrival, now: Timestamp) -> Option<ReserveError> {
        let (budget, call) = self.waiting.remove(arrival)?;
        self.serve_waiting(&[budget], now);
        Some(call.error)
    }

    /// Serves the calls that wait for these budgets, in the order of their arrival: each is reserved, is rejected, or
    /// waits for what is still reserved.
    fn serve_waiting(&mut self, budgets: &[Budget], now: Timestamp) {
        if self.waiting.count() == 0 {
            return;
        }
        for budget in budgets {
            while let Some(mut call) = self.waiting.pop(budget) {
                match self.check_limits(&call.request.limits, call.request.upper_bound, now) {
                    _ if call.is_abandoned() => {}
                    Ok(()) => {
                        let id = self.add_request(call.request.clone(), now);
                        if call.reply(Ok(id)).is_err() {
                            self.remove_reservation(id);
                        }
                    }
                    Err(ReserveError::Exceeded { budget: full, by }) if by.may_fit_later() => {
                        let waits_again = full == *budget;
                        call.error = ReserveError::Exceeded { budget: full.clone(), by };
                        self.waiting.insert(full, call);
                        if waits_again {
                            break;
                        }
                    }
                    // Its caller may not wait any more.
                    Err(error) => drop(call.reply(Err(error))),
                }
            }
        }
    }

    fn check_limits(&self, limits: &[Limit], upper_bound: Amount, now: Timestamp) -> Result<(), ReserveError> {
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

    /// Writes a reservation with the next commit.
    pub(crate) fn confirm_reservation(&mut self, id: ReservationId) {
        self.deltas.reserved.extend(self.reservations.get(&id).cloned());
    }

    /// Removes a reservation that no unit has confirmed, as if it had never been made.
    pub(crate) fn cancel_reservation(&mut self, id: ReservationId, now: Timestamp) {
        if let Some(record) = self.remove_reservation(id) {
            self.serve_waiting(&record.budgets, now);
        }
    }

    fn add_request(&mut self, request: OwnedRequest, now: Timestamp) -> ReservationId {
        let OwnedRequest { account, limits, upper_bound, key } = request;
        self.last_id = self.last_id.saturating_add(1);
        let budgets = budgets_of(&account, &limits);
        let id = ReservationId(self.last_id);
        self.add_reservation(ReservationRecord { id, key, account, budgets, upper_bound, at: now });
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
            self.serve_waiting(&record.reservation.budgets, now);
            return Some(record);
        }
        let (amount, day, account) = (record.amount(), day_of(now), &record.reservation.account);
        for budget in &record.reservation.budgets {
            let usage = self.usages.entry(budget.clone()).or_default();
            usage.spend(day, amount);
            if budget.has_row() {
                usage.add_model(&account.model, account.price);
            }
        }
        self.add_to_window(&account.principal, minute_of(now), UsageCounts::of_amount(amount));
        self.serve_waiting(&record.reservation.budgets, now);
        self.sweep(day);
        Some(record)
    }

    /// Writes a settlement with the next commit.
    pub(crate) fn add_settlement(&mut self, record: SettlementRecord) {
        let (usages, deltas) = (&self.usages, &mut self.deltas);
        let is_ended = |budget: &&Budget| self.ended.contains(*budget);
        let ended: Vec<Budget> = record.reservation.budgets.iter().filter(is_ended).cloned().collect();
        deltas.add_settlement(record, |budget| usages.get(budget).map(BudgetUsage::models));
        for budget in ended {
            self.ended.remove(&budget);
            self.drop_budget(budget);
        }
    }

    /// Drops what runs were charged that have ended: no request uses their budgets any more, and the database has them.
    pub(crate) fn drop_ended(&mut self, runs: Vec<RunId>) {
        runs.into_iter().for_each(|run| self.drop_budget(Budget::Run(run)));
    }

    /// Drops a budget of which no call has a reservation; another one is dropped with the settlement of its last call.
    fn drop_budget(&mut self, budget: Budget) {
        match self.usages.get(&budget) {
            Some(usage) if !usage.is_settled() => drop(self.ended.insert(budget)),
            Some(_) => drop(self.usages.remove(&budget)),
            None => {}
        }
    }

    /// Settles these reservations as estimated, because the pod of their calls is dead. Returns the number of those
    /// that were open.
    pub(crate) fn settle_estimated(&mut self, ids: &[ReservationId], now: Timestamp) -> u64 {
        let mut settled = 0;
        for id in ids {
            if let Some(record) = self.settle(*id, Settlement::Estimated, now) {
                self.add_settlement(record);
                settled += 1;
            }
        }
        settled
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
    pub(crate) fn restore_minute(&mut self, principal: &PrincipalId, minute: i64, counts: UsageCounts) {
        self.add_to_window(principal, minute, counts);
    }

    /// Restores the spending of a budget on a day.
    pub(crate) fn restore_spent(&mut self, budget: Budget, day: i64, amount: Amount) {
        self.usages.entry(budget).or_default().spend(day, amount);
    }

    /// Restores a budget that has a row of its own.
    pub(crate) fn restore_budget(&mut self, budget: Budget, day: i64, amount: Amount, models: ChargedModels) {
        let usage = self.usages.entry(budget).or_default();
        usage.spend(day, amount);
        usage.restore_models(models);
    }

    /// Restores a stored reservation that is not settled.
    pub(crate) fn restore_reservation(&mut self, record: ReservationRecord) {
        self.last_id = self.last_id.max(record.id.0);
        self.add_reservation(record);
    }

    fn add_minute(&mut self, principal: &PrincipalId, minute: i64, counts: UsageCounts) {
        self.add_to_window(principal, minute, counts);
        self.deltas.add_minute(principal, minute, counts);
    }

    fn add_to_window(&mut self, principal: &PrincipalId, minute: i64, counts: UsageCounts) {
        match self.windows.get_mut(principal) {
            Some(window) => window.add(minute, counts),
            None => self.windows.entry(principal.clone()).or_default().add(minute, counts),
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
                Budget::Agent(_) | Budget::User(_) | Budget::Tenant(_) => return true,
            };
            !usage.is_settled() || usage.last_change_day() > today.saturating_sub(days)
        });
        let minute = today.saturating_mul(24 * 60);
        self.windows.retain(|_, window| window.sum(minute) != UsageCounts::default());
    }
}

/// Returns the budgets of the account and of the limits, each once.
pub(crate) fn budgets_of(account: &Account, limits: &[Limit]) -> Vec<Budget> {
    let mut budgets = vec![
        Budget::Tenant(account.principal.tenant.clone()),
        Budget::User(account.principal.clone()),
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
