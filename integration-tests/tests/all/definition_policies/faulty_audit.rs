//! An audit that cannot open the entries of some requests, for pods of tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use greenroom_protocol::Timestamp;
use greenroom_protocol::audit::{Closing, Opening};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::audit::{
    AuditError, AuditLog, AuditPage, AuditScope, AuditSeq, ChainReport, OpenAuditEntry, PendingAuditEntry, PruneReport,
};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::{StoreParts, SyncMode};
use greenroom_supervisor::clock::WallClock;

/// Opens no entry of a call of an agent while it is switched on. The entries of such a call are submitted to a
/// database whose writer ends before it has written them.
pub(super) struct FaultyAudit {
    pub(super) inner: Arc<dyn AuditLog>,
    pub(super) is_faulty: Arc<AtomicBool>,
    pub(super) folder: PathBuf,
    pub(super) databases: AtomicUsize,
}

impl FaultyAudit {
    /// Submits to a database without a writer, and waits until that is known.
    async fn submit_without_writer(
        &self,
        opening: Opening,
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAuditEntry, AuditError> {
        let number = self.databases.fetch_add(1, Ordering::SeqCst);
        let parts = StoreParts {
            clock: Arc::new(WallClock),
            signer: Signer::ephemeral([7; 32]),
            artifacts: greenroom_registry::in_memory_artifacts(),
        };
        let path = self.folder.join(format!("faulty_{number}.db"));
        let opened = greenroom_registry::open_sqlite(&path, SyncMode::Normal, parts).await?;
        let mut entry = opened.stores.audit.submit(opening, timing, now).await?;
        drop(opened.tasks);
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

    async fn find(&self, scope: &AuditScope, id: &str) -> Result<Vec<greenroom_protocol::audit::Record>, AuditError> {
        self.inner.find(scope, id).await
    }

    async fn verify(&self) -> Result<ChainReport, AuditError> {
        self.inner.verify().await
    }

    async fn prune(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, AuditError> {
        self.inner.prune(before, now).await
    }
}
