//! State that the in-memory stores of one process share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greenroom_protocol::Clock;

use crate::error::StoreError;
use crate::in_memory::audit_data::Chain;
use crate::in_memory::ledger_data::LedgerWithCosts;
use crate::in_memory::run_data::Runs;
use crate::notify::RunNotifiers;
use crate::runs::leases::Leases;

/// State that the stores of one process share.
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    runs: Mutex<Runs>,
    ledger: Mutex<LedgerWithCosts>,
    audit: Mutex<Chain>,
    pub(super) leases: Leases,
    pub(super) journal_notifiers: RunNotifiers,
    is_closed: AtomicBool,
}

impl Shared {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            runs: Mutex::default(),
            ledger: Mutex::default(),
            audit: Mutex::default(),
            leases: Leases::default(),
            journal_notifiers: RunNotifiers::default(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Rejects a write to a closed store.
    pub(super) fn check_open(&self) -> Result<(), StoreError> {
        if self.is_closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Rejects all further writes, and ends every stream.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.journal_notifiers.close_all();
    }

    /// Locks the runs and the idempotency keys.
    pub(super) fn runs(&self) -> MutexGuard<'_, Runs> {
        lock(&self.runs)
    }

    /// Locks the ledger.
    pub(super) fn ledger(&self) -> MutexGuard<'_, LedgerWithCosts> {
        lock(&self.ledger)
    }

    /// Locks the audit.
    pub(super) fn audit(&self) -> MutexGuard<'_, Chain> {
        lock(&self.audit)
    }
}

/// Locks a value. A poisoned lock is still consistent: each value is changed in one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
