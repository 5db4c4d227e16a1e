//! An audit that cannot open the entries of some requests, for pods of tests.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::{PodId, RunId, Timestamp};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::core::{CoreStore, PendingUnit, Unit};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::journal::JournalError;
use greenroom_registry::runs::Fence;
use greenroom_registry::{OpenedStores, StoreError, StoreParts, Stores, SyncMode};
use greenroom_supervisor::clock::WallClock;

/// Calls whose entries can fail.
const FAULTS_MAX: usize = 12;

/// Opens no entry of a call of an agent while it is switched on. The entry of such a call is submitted to a
/// database whose writer ends before it has written it.
pub(super) struct FaultyAudit {
    inner: Arc<dyn CoreStore>,
    is_faulty: Arc<AtomicBool>,
    databases: Mutex<Vec<OpenedStores>>,
}

/// Databases without a writer, for [`FaultyAudit`].
pub(super) async fn open_databases(folder: &Path) -> anyhow::Result<Vec<OpenedStores>> {
    let mut databases = Vec::new();
    for number in 0..FAULTS_MAX {
        let parts = StoreParts {
            clock: Arc::new(WallClock),
            signer: Signer::ephemeral([7; 32]),
            artifacts: greenroom_registry::in_memory_artifacts(),
            pod: PodId::new("faulty")?,
        };
        let path = folder.join(format!("faulty_{number}.db"));
        databases.push(greenroom_registry::open_sqlite(&path, SyncMode::Normal, parts).await?);
    }
    Ok(databases)
}

impl FaultyAudit {
    /// Stores whose audit fails while `is_faulty` is true.
    pub(super) fn wrap(stores: Stores, is_faulty: Arc<AtomicBool>, databases: Vec<OpenedStores>) -> Stores {
        let core = Self { inner: Arc::clone(&stores.core), is_faulty, databases: Mutex::new(databases) };
        Stores { core: Arc::new(core), ..stores }
    }

    /// Submits to a database without a writer, and waits until that is known.
    async fn submit_without_writer(&self, unit: Unit<'_>, timing: CommitTiming) -> Result<PendingUnit, StoreError> {
        let database = self.databases.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let OpenedStores { stores, tasks, .. } = database.expect("a database for each fault");
        let pending = stores.core.submit(unit, timing).await?;
        drop(tasks);
        let result = pending.wait().await;
        assert!(result.is_err(), "no entry is durable without a writer");
        Ok(PendingUnit::resolved(result))
    }
}

#[async_trait]
impl CoreStore for FaultyAudit {
    async fn submit(&self, unit: Unit<'_>, timing: CommitTiming) -> Result<PendingUnit, StoreError> {
        let is_invocation = unit.opening().is_some_and(|opening| opening.action == "invoke");
        if self.is_faulty.load(Ordering::SeqCst) && is_invocation {
            return self.submit_without_writer(unit, timing).await;
        }
        self.inner.submit(unit, timing).await
    }

    async fn send(&self, unit: Unit<'_>) -> Result<(), StoreError> {
        self.inner.send(unit).await
    }

    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.inner.renew(root, fence, lease, now).await
    }
}
