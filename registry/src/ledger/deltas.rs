//! The changes of the ledger since the last commit, as sums: a thousand calls between two commits
//! become a few rows.

use std::collections::HashMap;

use greenroom_protocol as protocol;
use protocol::{AgentId, MicroUsd, PriceBasis, PrincipalId, WorkflowId};

use crate::ledger::reservation::{ReservationId, ReservationRecord, SettlementRecord};
use crate::ledger::usage::{UsageCounts, day_of, day_start, minute_of};
use crate::ledger::{Account, Amount, Budget, ChargedModels, CostRow, Settlement};

/// The key of a row of the costs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CostKey {
    pub(crate) day: i64,
    pub(crate) principal: PrincipalId,
    pub(crate) agent: AgentId,
    pub(crate) workflow: Option<WorkflowId>,
}

/// The values of a row of the costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CostEntry {
    pub(crate) calls: u64,
    pub(crate) actual: Amount,
    pub(crate) calls_estimated: u64,
    pub(crate) estimated: Amount,
    pub(crate) calls_assumed: u64,
    pub(crate) assumed: MicroUsd,
}

impl CostEntry {
    /// Adds another row of the same key.
    pub(crate) fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.actual += other.actual;
        self.calls_estimated = self.calls_estimated.saturating_add(other.calls_estimated);
        self.estimated += other.estimated;
        self.calls_assumed = self.calls_assumed.saturating_add(other.calls_assumed);
        self.assumed += other.assumed;
    }
}

impl CostKey {
    /// Converts to a row of the public interface.
    pub(crate) fn to_row(&self, entry: &CostEntry) -> CostRow {
        CostRow {
            day: day_start(self.day),
            principal: self.principal.clone(),
            agent: self.agent.clone(),
            workflow: self.workflow.clone(),
            calls: entry.calls,
            actual: entry.actual,
            calls_estimated: entry.calls_estimated,
            estimated: entry.estimated,
            calls_assumed: entry.calls_assumed,
            assumed: entry.assumed,
        }
    }
}

impl SettlementRecord {
    /// The amount that is charged.
    pub(crate) fn amount(&self) -> Amount {
        self.settlement.amount(self.reservation.upper_bound)
    }
}

/// The changes of a budget that has a row of its own.
#[derive(Debug, Default)]
pub(crate) struct BudgetDelta {
    pub(crate) amount: Amount,
    /// The day of the last change.
    pub(crate) day: i64,
    /// All models that the budget was charged for, and not those of these changes alone.
    pub(crate) models: ChargedModels,
}

/// The changes since the last commit.
#[derive(Debug, Default)]
pub(crate) struct Deltas {
    pub(crate) minutes: HashMap<(PrincipalId, i64), UsageCounts>,
    pub(crate) costs: HashMap<CostKey, CostEntry>,
    /// Budgets of executions and runs; the other budgets are computed from the costs.
    pub(crate) budgets: HashMap<Budget, BudgetDelta>,
    pub(crate) reserved: Vec<ReservationRecord>,
    pub(crate) settled: Vec<ReservationId>,
    /// The day on which budgets that no request can use any more were removed.
    pub(crate) swept_on: Option<i64>,
}

impl Deltas {
    /// True if there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.minutes.is_empty()
            && self.costs.is_empty()
            && self.budgets.is_empty()
            && self.reserved.is_empty()
            && self.settled.is_empty()
            && self.swept_on.is_none()
    }

    /// Adds a settlement to the costs, the budgets and the usage. `models_of` are the models of a budget, that of the
    /// settled call among them.
    pub(crate) fn add_settlement<'m>(
        &mut self,
        record: SettlementRecord,
        models_of: impl Fn(&Budget) -> Option<&'m ChargedModels>,
    ) {
        let amount = record.amount();
        let SettlementRecord { reservation, settlement, at } = record;
        self.settled.push(reservation.id);
        let mut cost = match settlement {
            Settlement::Unused => return,
            Settlement::Actual(actual) => CostEntry { calls: 1, actual, ..CostEntry::default() },
            Settlement::Estimated => CostEntry { calls_estimated: 1, estimated: amount, ..CostEntry::default() },
        };
        let day = day_of(at);
        for budget in reservation.budgets.iter().filter(|budget| budget.has_row()) {
            let models = models_of(budget).cloned().unwrap_or_default();
            self.add_budget(budget.clone(), BudgetDelta { amount, day, models });
        }
        let Account { principal, agent, workflow, run: _, model: _, price } = reservation.account;
        if price == PriceBasis::Assumed {
            (cost.calls_assumed, cost.assumed) = (1, amount.cost);
        }
        self.add_minute(&principal, minute_of(at), UsageCounts::of_amount(amount));
        self.add_cost(CostKey { day, principal, agent, workflow }, &cost);
    }

    /// Adds to the usage of a minute.
    pub(crate) fn add_minute(&mut self, principal: &PrincipalId, minute: i64, counts: UsageCounts) {
        if counts != UsageCounts::default() {
            *self.minutes.entry((principal.clone(), minute)).or_default() += counts;
        }
    }

    /// Adds to the costs.
    pub(crate) fn add_cost(&mut self, key: CostKey, entry: &CostEntry) {
        self.costs.entry(key).or_default().add(entry);
    }

    /// Adds later changes of a budget that has a row of its own.
    fn add_budget(&mut self, budget: Budget, later: BudgetDelta) {
        let delta = self.budgets.entry(budget).or_default();
        delta.amount += later.amount;
        delta.day = delta.day.max(later.day);
        delta.models = later.models;
    }

    /// Adds later changes to these.
    pub(crate) fn merge(&mut self, later: Self) {
        for (key, counts) in later.minutes {
            *self.minutes.entry(key).or_default() += counts;
        }
        for (key, entry) in later.costs {
            self.add_cost(key, &entry);
        }
        for (budget, delta) in later.budgets {
            self.add_budget(budget, delta);
        }
        self.reserved.extend(later.reserved);
        self.settled.extend(later.settled);
        self.swept_on = self.swept_on.max(later.swept_on);
    }
}
