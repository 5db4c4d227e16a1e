//! What changed in the ledger since it was last written: sums to add, so that a thousand calls
//! between two commits become a handful of rows.

use std::collections::HashMap;

use greenroom_protocol as protocol;
use protocol::{AgentId, CallKey, MicroUsd, TenantId, Timestamp, UserId, WorkflowId};
use serde::{Deserialize, Serialize};

use crate::ledger::usage::{UsageCounts, day_start};
use crate::ledger::{Account, Amount, Budget, CostRow, ReservationId, UsageKey};

/// What one row of the costs is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CostKey {
    pub(crate) day: i64,
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) agent: AgentId,
    pub(crate) workflow: Option<WorkflowId>,
}

/// What one row of the costs says.
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
    /// The row as it is answered.
    pub(crate) fn to_row(&self, spend: &CostEntry) -> CostRow {
        CostRow {
            day: day_start(self.day),
            tenant: self.tenant.clone(),
            user: self.user.clone(),
            agent: self.agent.clone(),
            workflow: self.workflow.clone(),
            calls: spend.calls,
            actual: spend.actual,
            calls_estimated: spend.calls_estimated,
            estimated: spend.estimated,
            calls_assumed: spend.calls_assumed,
            assumed: spend.assumed,
        }
    }
}

/// A reservation that is not settled yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReservationRecord {
    pub(crate) id: ReservationId,
    pub(crate) key: CallKey,
    pub(crate) account: Account,
    /// Every budget that it stands in, each once.
    pub(crate) budgets: Vec<Budget>,
    pub(crate) upper_bound: Amount,
    pub(crate) at: Timestamp,
}

/// What changed.
#[derive(Debug, Default)]
pub(crate) struct Deltas {
    pub(crate) minutes: HashMap<(UsageKey, i64), UsageCounts>,
    pub(crate) costs: HashMap<CostKey, CostEntry>,
    /// Of executions and runs only, with the day; the other budgets follow from the costs.
    pub(crate) budgets: HashMap<Budget, (Amount, i64)>,
    pub(crate) reserved: Vec<ReservationRecord>,
    pub(crate) settled: Vec<ReservationId>,
}

impl Deltas {
    /// True if there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.minutes.is_empty()
            && self.costs.is_empty()
            && self.budgets.is_empty()
            && self.reserved.is_empty()
            && self.settled.is_empty()
    }

    /// Adds to the costs.
    pub(crate) fn add_cost(&mut self, key: CostKey, spend: &CostEntry) {
        self.costs.entry(key).or_default().add(spend);
    }

    /// Adds to a budget, if its sum is kept by itself.
    pub(crate) fn add_budget(&mut self, budget: &Budget, amount: Amount, day: i64) {
        match budget {
            Budget::Execution(_) | Budget::Run(_) => {
                let (sum, last) = self.budgets.entry(budget.clone()).or_default();
                *sum += amount;
                *last = day.max(*last);
            }
            Budget::Agent(_) | Budget::User(..) | Budget::Tenant(_) => {}
        }
    }

    /// Puts earlier changes back, which could not be written.
    pub(crate) fn merge(&mut self, earlier: Self) {
        for (key, counts) in earlier.minutes {
            *self.minutes.entry(key).or_default() += counts;
        }
        for (key, spend) in earlier.costs {
            self.add_cost(key, &spend);
        }
        for (budget, (amount, day)) in earlier.budgets {
            self.add_budget(&budget, amount, day);
        }
        let later = std::mem::replace(&mut self.reserved, earlier.reserved);
        self.reserved.extend(later);
        self.settled.extend(earlier.settled);
    }
}
