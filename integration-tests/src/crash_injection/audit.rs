//! Decorators of the audit and the ledger: each write passes the crash point, reads are forwarded.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::Timestamp;
use greenroom_protocol::audit::{Closing, Opening, Record};
use greenroom_registry::StoreError;
use greenroom_registry::audit::{
    AuditError, AuditLog, AuditPage, AuditScope, AuditSeq, ChainReport, OpenAuditEntry, PendingAuditEntry, PruneReport,
};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::ledger::{
    Amount, CostRow, Ledger, Periods, RequestKind, Reservation, ReserveError, ReserveRequest, Settlement, UsageKey,
    UsageSummary,
};

use super::CrashPoint;

pub(super) struct CrashingAudit {
    pub(super) inner: Arc<dyn AuditLog>,
    pub(super) crash_point: Arc<CrashPoint>,
}

#[async_trait]
impl AuditLog for CrashingAudit {
    async fn submit(
        &self,
        opening: Opening,
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAuditEntry, AuditError> {
        let is_crash_point = self.crash_point.hit();
        let mut entry = self.inner.submit(opening, timing, now).await?;
        if is_crash_point {
            let _ = entry.wait_durable().await;
            std::process::abort();
        }
        Ok(entry)
    }

    async fn close(&self, entry: OpenAuditEntry, closing: Closing, now: Timestamp) {
        self.crash_point.write(self.inner.close(entry, closing, now)).await;
    }

    async fn record_system_event(&self, subject: &str, message: &str, now: Timestamp) -> Result<AuditSeq, AuditError> {
        self.crash_point.write(self.inner.record_system_event(subject, message, now)).await
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
        self.crash_point.write(self.inner.prune(before, now)).await
    }
}

pub(super) struct CrashingLedger {
    pub(super) inner: Arc<dyn Ledger>,
    pub(super) crash_point: Arc<CrashPoint>,
}

#[async_trait]
impl Ledger for CrashingLedger {
    async fn count(
        &self,
        key: &UsageKey,
        kind: RequestKind,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        self.crash_point.write(self.inner.count(key, kind, periods, now)).await
    }

    async fn usage(&self, key: &UsageKey, periods: Periods, now: Timestamp) -> Result<UsageSummary, StoreError> {
        self.inner.usage(key, periods, now).await
    }

    async fn reserve(
        &self,
        request: ReserveRequest,
        wait_max: Duration,
        now: Timestamp,
    ) -> Result<Reservation, ReserveError> {
        self.crash_point.write(self.inner.reserve(request, wait_max, now)).await
    }

    async fn settle(
        &self,
        reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Amount, StoreError> {
        self.crash_point.write(self.inner.settle(reservation, settlement, now)).await
    }

    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError> {
        self.inner.costs(since).await
    }
}
