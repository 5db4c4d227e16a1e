//! One retry budget for a run and all of its nested calls: without it, three attempts at each of four levels would be
//! eighty-one calls.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use greenroom_protocol::{CallKey, RunId, TenantId, UserId};
use greenroom_rego::Grant;

/// Retries of a request that belongs to no run, whatever their reason and whichever of its calls makes them: attempts
/// at a model, fallbacks, repairs of answers, and repetitions of an agent.
pub const RETRIES_DEFAULT: u32 = 6;
/// Number of budgets at which those of ended runs are removed.
const SWEEP_THRESHOLD: usize = 1_024;

/// Called when a retry is taken from a budget.
type TakeListener = Box<dyn Fn() + Send + Sync>;

/// The remaining retries. A run that is a step of another run takes from both budgets.
#[derive(Default)]
pub struct RetryBudget {
    remaining: AtomicU32,
    parent: Option<Arc<RetryBudget>>,
    listener: Mutex<Option<TakeListener>>,
}

impl RetryBudget {
    /// Creates a budget of this many retries.
    #[must_use]
    pub fn new(retries: u32) -> Self {
        Self { remaining: AtomicU32::new(retries), ..Self::default() }
    }

    /// As [`RetryBudget::new`]; each retry is also taken from the parent.
    #[must_use]
    pub fn with_parent(parent: Option<Arc<Self>>, retries: u32) -> Self {
        Self { parent, ..Self::new(retries) }
    }

    /// Sets the listener, which is called for each retry taken by nested calls.
    pub fn on_take(&self, listener: impl Fn() + Send + Sync + 'static) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(listener));
    }

    /// Takes one retry; returns false if none remains in this budget or in the parent.
    pub fn try_take(&self) -> bool {
        let taken = self.try_take_unobserved();
        if taken && let Some(listener) = &*self.listener.lock().unwrap_or_else(PoisonError::into_inner) {
            listener();
        }
        taken
    }

    /// As [`RetryBudget::try_take`], without a call of the listener.
    pub fn try_take_unobserved(&self) -> bool {
        let own = self
            .remaining
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |remaining| remaining.checked_sub(1))
            .is_ok();
        let all = own && self.parent.as_ref().is_none_or(|parent| parent.try_take());
        if own && !all {
            self.remaining.fetch_add(1, Ordering::AcqRel);
        }
        all
    }

    /// The retries that remain in this budget and in the parent.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        let own = self.remaining.load(Ordering::Acquire);
        self.parent.as_ref().map_or(own, |parent| own.min(parent.remaining()))
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget").field("remaining", &self.remaining()).finish_non_exhaustive()
    }
}

/// The key of a shared budget.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum BudgetKey {
    /// A run and its nested calls.
    Run(RunId),
    /// A request that belongs to no run: tenant, user and its first call key.
    Call(TenantId, UserId, String),
}

impl BudgetKey {
    fn for_grant(grant: &Grant, key: &CallKey) -> Self {
        if let Some(run) = grant.run() {
            return Self::Run(run.clone());
        }
        // The key of a nested call starts with the key of its parent call.
        let first = key.as_str().split('/').next().unwrap_or_default().to_owned();
        Self::Call(grant.principal().tenant.clone(), grant.principal().user.clone(), first)
    }
}

/// The open budgets. The outermost run or execution owns its budget; when it ends, the budget is dropped.
#[derive(Debug, Default)]
pub struct RetryBudgets {
    open: Mutex<HashMap<BudgetKey, Weak<RetryBudget>>>,
}

impl RetryBudgets {
    /// Opens the budget of a run, or returns the open one. A run that is a step of another run also takes from that
    /// run's budget.
    #[must_use]
    pub fn open(&self, run: &RunId, parent: Option<&RunId>, retries: u32) -> Arc<RetryBudget> {
        let mut open = self.lock();
        let find = |run: &RunId| open.get(&BudgetKey::Run(run.clone())).and_then(Weak::upgrade);
        if let Some(budget) = find(run) {
            return budget;
        }
        let budget = Arc::new(RetryBudget::with_parent(parent.and_then(find), retries));
        insert_and_sweep(&mut open, BudgetKey::Run(run.clone()), &budget);
        budget
    }

    /// The budget for the work of a grant; a new one for a user's request that belongs to no run.
    #[must_use]
    pub fn for_grant(&self, grant: &Grant, key: &CallKey) -> Arc<RetryBudget> {
        let is_inner = grant.run().is_some() || grant.chain().len() > 1;
        let budget =
            if is_inner { self.lock().get(&BudgetKey::for_grant(grant, key)).and_then(Weak::upgrade) } else { None };
        budget.unwrap_or_else(|| Arc::new(RetryBudget::new(RETRIES_DEFAULT)))
    }

    /// Shares the budget of this work with its nested calls.
    pub fn share(&self, grant: &Grant, key: &CallKey, budget: &Arc<RetryBudget>) {
        let key = BudgetKey::for_grant(grant, key);
        let mut open = self.lock();
        if open.get(&key).is_none_or(|known| known.strong_count() == 0) {
            insert_and_sweep(&mut open, key, budget);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BudgetKey, Weak<RetryBudget>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert_and_sweep(open: &mut HashMap<BudgetKey, Weak<RetryBudget>>, key: BudgetKey, budget: &Arc<RetryBudget>) {
    if open.len() >= SWEEP_THRESHOLD {
        open.retain(|_, budget| budget.strong_count() > 0);
    }
    open.insert(key, Arc::downgrade(budget));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_work_of_a_run_takes_from_one_budget() {
        let budgets = RetryBudgets::default();
        let run = RunId::new("run_1").unwrap();
        let budget = budgets.open(&run, None, 2);
        assert!(budgets.open(&run, None, 9).try_take());
        assert!(budgets.open(&run, None, 9).try_take(), "the open budget is returned");
        assert!(!budget.try_take());
        drop(budget);
        assert_eq!(budgets.open(&run, None, 9).remaining(), 9, "a run that has ended has no budget");
    }

    #[test]
    fn a_nested_run_takes_from_both_budgets_and_notifies_the_outer_run() {
        let budgets = RetryBudgets::default();
        let (outer, inner) = (RunId::new("run_1").unwrap(), RunId::new("run_2").unwrap());
        let parent = budgets.open(&outer, None, 2);
        let notifications = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&notifications);
        parent.on_take(move || {
            counter.fetch_add(1, Ordering::AcqRel);
        });
        let nested = budgets.open(&inner, Some(&outer), 64);
        assert_eq!(nested.remaining(), 2);
        assert!(nested.try_take() && nested.try_take_unobserved());
        assert!(!nested.try_take() && !parent.try_take());
        assert_eq!((notifications.load(Ordering::Acquire), parent.remaining(), nested.remaining()), (2, 0, 0));
    }
}
