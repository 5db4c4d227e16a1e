//! An audit that cannot open the entries of some requests, for pods of tests.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use greenroom_protocol::Timestamp;
use greenroom_protocol::audit::{Closing, Opening, Record};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::audit::{
    AuditError, AuditLog, AuditPage, AuditScope, AuditSeq, ChainReport, OpenAuditEntry, PendingAuditEntry, PruneReport,
};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::{OpenedStores, StoreParts, Stores, SyncMode};
use greenroom_supervisor::clock::WallClock;

/// Calls whose entries can fail.
const FAULTS_MAX: usize = 12;

/// Opens no entry of a call of an agent while it is switched on. The entry of such a call is submitted to a
/// database whose writer ends before it has written it.
pub(super) struct FaultyAudit {
    inner: Arc<dyn AuditLog>,
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
        };
        let path = folder.join(format!("faulty_{number}.db"));
        databases.push(greenroom_registry::open_sqlite(&path, SyncMode::Normal, parts).await?);
    }
    Ok(databases)
}

impl FaultyAudit {
    /// Stores whose audit fails while `is_faulty` is true.
    pub(super) fn wrap(stores: Stores, is_faulty: Arc<AtomicBool>, databases: Vec<OpenedStores>) -> Stores {
        let audit = Self { inner: Arc::clone(&stores.audit), is_faulty, databases: Mutex::new(databases) };
        Stores { audit: Arc::new(audit), ..stores }
    }

    /// Submits to a database without a writer, and waits until that is known.
    async fn submit_without_writer(
        &self,
        opening: Opening,
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAuditEntry, AuditError> {
        let database = self.databases.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let OpenedStores { stores, tasks } = database.expect("a database for each fault");
        let mut entry = stores.audit.submit(opening, timing, now).await?;
        drop(tasks);
        assert!(entry.wait_durable().await.is_err(), "no entry is durable without a writer");
        Ok(entry)
    }
}

#[async_trait]
impl AuditLog for FaultyAudit {
    async fn submit(
        &self,
        opening: Opening,
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAuditEntry, AuditError> {
        if self.is_faulty.load(Ordering::SeqCst) && opening.action == "invoke" {
            return self.submit_without_writer(opening, timing, now).await;
        }
        self.inner.submit(opening, timing, now).await
    }

    async fn close(&self, entry: OpenAuditEntry, closing: Closing, now: Timestamp) {
        self.inner.close(entry, closing, now).await;
    }

    async fn record_system_event(&self, subject: &str, message: &str, now: Timestamp) -> Result<AuditSeq, AuditError> {
        self.inner.record_system_event(subject, message, now).await
    }

    async fn read(&self, scope: &AuditScope, before: Option<AuditSeq>, limit: u32) -> Result<AuditPage, AuditError> {
        self.inner.read(scope, before, limit).await
    }

    async fn find(&self, scope: &AuditScope, id: &str) -> Result<Vec<Record>, AuditError> {
        self.inner.find(scope, id).await
    }

    async fn verify(&self) -> Result<ChainReport, AuditError> {
        self.inner.verify().await
    }

    async fn prune(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, AuditError> {
        self.inner.prune(before, now).await
    }
}
