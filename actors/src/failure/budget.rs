//! One budget of retries for a run, however deep its calls nest: without it, three attempts at each
//! of four levels would be eighty-one calls.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use greenroom_protocol::RunId;

/// Retries of work that belongs to no run.
pub const RETRIES_DEFAULT: u32 = 6;
/// Budgets that are kept before those of ended runs are cleared away.
const SWEEP_ABOVE: usize = 1_024;

/// How many retries are left.
#[derive(Debug)]
pub struct RetryBudget(AtomicU32);

impl RetryBudget {
    /// A budget of this many retries.
    #[must_use]
    pub const fn new(retries: u32) -> Self {
        Self(AtomicU32::new(retries))
    }

    /// Takes one retry; false if there is none.
    pub fn take(&self) -> bool {
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok()
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

/// The budgets of the runs under way. A run holds its budget; when it ends, the budget is gone.
#[derive(Debug, Default)]
pub struct RetryBudgets {
    runs: Mutex<HashMap<RunId, Weak<RetryBudget>>>,
}

impl RetryBudgets {
    /// Opens the budget of a run, or gives the one that is open.
    #[must_use]
    pub fn open(&self, run: &RunId, retries: u32) -> Arc<RetryBudget> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = runs.get(run).and_then(Weak::upgrade) {
            return open;
        }
        if runs.len() >= SWEEP_ABOVE {
            runs.retain(|_, budget| budget.strong_count() > 0);
        }
        let budget = Arc::new(RetryBudget::new(retries));
        runs.insert(run.clone(), Arc::downgrade(&budget));
        budget
    }

    /// The budget that work of this run takes its retries from; a fresh one where there is no run.
    #[must_use]
    pub fn of(&self, run: Option<&RunId>) -> Arc<RetryBudget> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        run.and_then(|run| runs.get(run).and_then(Weak::upgrade))
            .unwrap_or_else(|| Arc::new(RetryBudget::new(RETRIES_DEFAULT)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_work_of_a_run_takes_from_one_budget() {
        let budgets = RetryBudgets::default();
        let run = RunId::new("run_1").unwrap();
        let held = budgets.open(&run, 2);
        assert!(budgets.of(Some(&run)).take());
        assert!(budgets.open(&run, 9).take(), "the open one is given, not another");
        assert!(!held.take());
        drop(held);
        assert_eq!(budgets.of(Some(&run)).left(), RETRIES_DEFAULT, "a run that has ended has no budget");
    }
}
