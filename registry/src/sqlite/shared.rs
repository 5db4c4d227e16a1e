//! State that the writer and the stores of one file share.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greenroom_protocol::{Clock, PodId};
use sqlx::sqlite::SqlitePool;

use crate::ledger::state::LedgerState;
use crate::notify::RunNotifiers;
use crate::runs::leases::Leases;
use crate::sqlite::generations::numbers::Numbers;
use crate::sqlite::pods::Pods;

/// State that the writer and the stores of one file share.
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) readers: SqlitePool,
    pub(super) leases: Leases,
    pub(super) journal_notifiers: RunNotifiers,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pods: Pods,
    /// The numbers of the current generations.
    pub(super) generations: Numbers,
    ledger: Mutex<LedgerState>,
    /// The numbers of the open audit entries.
    open_entries: Mutex<BTreeSet<u64>>,
}

impl Shared {
    pub(super) fn new(path: PathBuf, readers: SqlitePool, clock: Arc<dyn Clock>, pod: PodId) -> Self {
        Self {
            path,
            readers,
            leases: Leases::default(),
            journal_notifiers: RunNotifiers::default(),
            clock,
            pods: Pods::new(pod),
            generations: Numbers::default(),
            ledger: Mutex::default(),
            open_entries: Mutex::default(),
        }
    }

    /// Locks the ledger. A poisoned lock is still consistent: each method of the ledger changes it in
    /// one step.
    pub(super) fn ledger(&self) -> MutexGuard<'_, LedgerState> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the set of open audit entries, which changes once per commit, after the commit is durable.
    pub(super) fn open_entries(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.open_entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
