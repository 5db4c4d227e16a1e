//! One budget of retries for a run, however deep its calls nest: without it, three attempts at each
//! of four levels would be eighty-one calls.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use greenroom_protocol::{CallKey, RunId, TenantId, UserId};
use greenroom_rego::Grant;

/// Retries of work that belongs to no run.
pub const RETRIES_DEFAULT: u32 = 6;
/// Budgets that are kept before those of ended runs are cleared away.
const SWEEP_ABOVE: usize = 1_024;

/// Told that a retry was taken from a budget.
type TakeListener = Box<dyn Fn() + Send + Sync>;

/// How many retries are left. A run that is a step of another one takes from both.
#[derive(Default)]
pub struct RetryBudget {
    left: AtomicU32,
    parent: Option<Arc<RetryBudget>>,
    listener: Mutex<Option<TakeListener>>,
}

impl RetryBudget {
    /// A budget of this many retries.
    #[must_use]
    pub fn new(retries: u32) -> Self {
        Self { left: AtomicU32::new(retries), ..Self::default() }
    }

    /// As [`RetryBudget::new`], and each retry is taken from the one above too.
    #[must_use]
    pub fn with_parent(parent: Option<Arc<Self>>, retries: u32) -> Self {
        Self { parent, ..Self::new(retries) }
    }

    /// Whoever keeps the books of this budget hears of each retry that others take from it.
    pub fn on_take(&self, listener: impl Fn() + Send + Sync + 'static) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(listener));
    }

    /// Takes one retry; false if there is none, here or above.
    pub fn try_take(&self) -> bool {
        let taken = self.try_take_unobserved();
        if taken && let Some(listener) = &*self.listener.lock().unwrap_or_else(PoisonError::into_inner) {
            listener();
        }
        taken
    }

    /// As [`RetryBudget::take`], for the one who keeps the books and needs no telling.
    pub fn try_take_unobserved(&self) -> bool {
        let own = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok();
        let all = own && self.parent.as_ref().is_none_or(|above| above.try_take());
        if own && !all {
            self.left.fetch_add(1, Ordering::AcqRel);
        }
        all
    }

    /// How many are left, here and above.
    #[must_use]
    pub fn left(&self) -> u32 {
        let own = self.left.load(Ordering::Acquire);
        self.parent.as_ref().map_or(own, |above| own.min(above.left()))
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget").field("left", &self.left()).finish_non_exhaustive()
    }
}

/// What retries are shared by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum BudgetKey {
    /// The work of a run.
    Run(RunId),
    /// The work of a request that belongs to no run: whose it is, and its first call.
    Call(TenantId, UserId, String),
}

impl BudgetKey {
    fn of(grant: &Grant, key: &CallKey) -> Self {
        if let Some(run) = grant.run() {
            return Self::Run(run.clone());
        }
        // The key of an inner call begins with that of the call that it is a part of.
        let first = key.as_str().split('/').next().unwrap_or_default().to_owned();
        Self::Call(grant.principal().tenant.clone(), grant.principal().user.clone(), first)
    }
}

/// The budgets of the work under way. Whoever is at the top of it holds its budget; when that ends, the
/// budget is gone.
#[derive(Debug, Default)]
pub struct RetryBudgets {
    open: Mutex<HashMap<BudgetKey, Weak<RetryBudget>>>,
}

impl RetryBudgets {
    /// Opens the budget of a run, or gives the one that is open. A run that is a step of another one
    /// takes from that one's budget too.
    #[must_use]
    pub fn open(&self, run: &RunId, parent: Option<&RunId>, retries: u32) -> Arc<RetryBudget> {
        let mut open = self.lock();
        let find = |run: &RunId| open.get(&BudgetKey::Run(run.clone())).and_then(Weak::upgrade);
        if let Some(found) = find(run) {
            return found;
        }
        let budget = Arc::new(RetryBudget::with_parent(parent.and_then(find), retries));
        enter(&mut open, BudgetKey::Run(run.clone()), &budget);
        budget
    }

    /// The budget that the work behind a permit takes its retries from; a fresh one for a request of a
    /// user that belongs to no run.
    #[must_use]
    pub fn for_grant(&self, grant: &Grant, key: &CallKey) -> Arc<RetryBudget> {
        let is_inner = grant.run().is_some() || grant.chain().len() > 1;
        let found = if is_inner { self.lock().get(&BudgetKey::of(grant, key)).and_then(Weak::upgrade) } else { None };
        found.unwrap_or_else(|| Arc::new(RetryBudget::new(RETRIES_DEFAULT)))
    }

    /// Lets the inner calls of this work take from its own budget.
    pub fn share(&self, grant: &Grant, key: &CallKey, budget: &Arc<RetryBudget>) {
        let root = BudgetKey::of(grant, key);
        let mut open = self.lock();
        if open.get(&root).is_none_or(|known| known.strong_count() == 0) {
            enter(&mut open, root, budget);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BudgetKey, Weak<RetryBudget>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn enter(open: &mut HashMap<BudgetKey, Weak<RetryBudget>>, root: BudgetKey, budget: &Arc<RetryBudget>) {
    if open.len() >= SWEEP_ABOVE {
        open.retain(|_, budget| budget.strong_count() > 0);
    }
    open.insert(root, Arc::downgrade(budget));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_work_of_a_run_takes_from_one_budget() {
        let budgets = RetryBudgets::default();
        let run = RunId::new("run_1").unwrap();
        let held = budgets.open(&run, None, 2);
        assert!(budgets.open(&run, None, 9).try_take());
        assert!(budgets.open(&run, None, 9).try_take(), "the open one is given, not another");
        assert!(!held.try_take());
        drop(held);
        assert_eq!(budgets.open(&run, None, 9).left(), 9, "a run that has ended has no budget");
    }

    #[test]
    fn a_run_inside_of_a_run_takes_from_both_and_the_outer_one_hears_of_it() {
        let budgets = RetryBudgets::default();
        let (outer, inner) = (RunId::new("run_1").unwrap(), RunId::new("run_2").unwrap());
        let above = budgets.open(&outer, None, 2);
        let heard = Arc::new(AtomicU32::new(0));
        let told = Arc::clone(&heard);
        above.on_take(move || {
            told.fetch_add(1, Ordering::AcqRel);
        });
        let below = budgets.open(&inner, Some(&outer), 64);
        assert_eq!(below.left(), 2);
        assert!(below.try_take() && below.try_take_unobserved());
        assert!(!below.try_take() && !above.try_take());
        assert_eq!((heard.load(Ordering::Acquire), above.left(), below.left()), (2, 0, 0));
    }
}
