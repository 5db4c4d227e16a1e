//! One retry budget for a tree of runs and all of its calls: without it, three attempts at each of four levels would
//! be eighty-one calls.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use greenroom_protocol::{CallKey, PrincipalId, RunId};
use greenroom_rego::Grant;

/// Retries of a request that belongs to no run, whatever their reason and whichever of its calls makes them: attempts
/// at a model, fallbacks, repairs of answers, and repetitions of an agent.
pub const RETRIES_DEFAULT: u32 = 6;
/// Number of budgets at which those of ended runs are removed.
const SWEEP_THRESHOLD: usize = 1_024;

/// Called when a retry is taken from a budget.
type TakeListener = Box<dyn Fn() + Send + Sync>;

/// The remaining retries.
#[derive(Default)]
pub struct RetryBudget {
    remaining: AtomicU32,
    listener: Mutex<Option<TakeListener>>,
}

impl RetryBudget {
    /// Creates a budget of this many retries.
    #[must_use]
    pub fn new(retries: u32) -> Self {
        Self { remaining: AtomicU32::new(retries), ..Self::default() }
    }

    /// Sets the listener, which is called for each retry taken below the owner of the budget.
    pub fn on_take(&self, listener: impl Fn() + Send + Sync + 'static) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(listener));
    }

    /// Takes one retry; returns false if none remains.
    pub fn try_take(&self) -> bool {
        let taken = self.try_take_unobserved();
        if taken && let Some(listener) = &*self.listener.lock().unwrap_or_else(PoisonError::into_inner) {
            listener();
        }
        taken
    }

    /// As [`RetryBudget::try_take`], without a call of the listener: for the owner of the budget itself.
    pub fn try_take_unobserved(&self) -> bool {
        let take = |remaining: u32| remaining.checked_sub(1);
        self.remaining.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// The retries that remain.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.remaining.load(Ordering::Acquire)
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
    /// A tree of runs, by its root.
    Tree(RunId),
    /// A request that belongs to no run: its principal and its first call key.
    Call(PrincipalId, String),
}

impl BudgetKey {
    fn for_grant(grant: &Grant, key: &CallKey) -> Self {
        if let Some(root) = grant.root() {
            return Self::Tree(root.clone());
        }
        // The key of a nested call starts with the key of its parent call.
        let first = key.as_str().split('/').next().unwrap_or_default().to_owned();
        Self::Call(grant.principal().id.clone(), first)
    }
}

/// The open budgets. A tree of runs, or the outermost execution, owns its budget; when it ends, the budget is dropped.
#[derive(Debug, Default)]
pub struct RetryBudgets {
    open: Mutex<HashMap<BudgetKey, Weak<RetryBudget>>>,
}

impl RetryBudgets {
    /// Opens the budget of a tree, or returns the open one: all runs of a tree take from one budget.
    #[must_use]
    pub fn open(&self, root: &RunId, retries: u32) -> Arc<RetryBudget> {
        let mut open = self.lock();
        let key = BudgetKey::Tree(root.clone());
        if let Some(budget) = open.get(&key).and_then(Weak::upgrade) {
            return budget;
        }
        let budget = Arc::new(RetryBudget::new(retries));
        insert_and_sweep(&mut open, key, &budget);
        budget
    }

    /// The retries that a tree has left; `None` if its budget is not open.
    #[must_use]
    pub fn remaining(&self, root: &RunId) -> Option<u32> {
        let budget = self.lock().get(&BudgetKey::Tree(root.clone())).and_then(Weak::upgrade);
        budget.map(|budget| budget.remaining())
    }

    /// The budget for the work of a grant; a new one for a user's request that belongs to no run.
    #[must_use]
    pub fn for_grant(&self, grant: &Grant, key: &CallKey) -> Arc<RetryBudget> {
        let is_inner = grant.root().is_some() || grant.chain().len() > 1;
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
    fn all_runs_of_a_tree_take_from_one_budget() {
        let budgets = RetryBudgets::default();
        let root = RunId::new("run_1").unwrap();
        let budget = budgets.open(&root, 2);
        assert!(budgets.open(&root, 64).try_take());
        assert!(budgets.open(&root, 64).try_take(), "the open budget is returned");
        assert!(!budget.try_take());
        assert_eq!(budgets.remaining(&root), Some(0));
        drop(budget);
        assert_eq!(budgets.remaining(&root), None);
        assert_eq!(budgets.open(&root, 9).remaining(), 9, "a tree that has ended has no budget");
    }

    #[test]
    fn the_owner_of_a_budget_learns_of_the_retries_below_it_and_not_of_its_own() {
        let budget = RetryBudget::new(3);
        let notifications = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&notifications);
        budget.on_take(move || {
            counter.fetch_add(1, Ordering::AcqRel);
        });
        assert!(budget.try_take() && budget.try_take_unobserved() && budget.try_take());
        assert!(!budget.try_take() && !budget.try_take_unobserved());
        assert_eq!((notifications.load(Ordering::Acquire), budget.remaining()), (2, 0));
    }
}
