//! The audit and the ledger, with a plug in each write; what is read passes through.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::audit::{Closing, Opening, Record};
use greenroom_protocol::{CallKey, Timestamp};
use greenroom_registry::StoreError;
use greenroom_registry::audit::{
    AuditError, AuditLog, AuditPage, AuditSeq, ChainReport, OpenAuditEntry, PendingAuditEntry, PruneReport,
};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::ledger::{
    Account, Amount, CostRow, Ledger, Limit, Periods, Reservation, ReserveError, Settlement, UsageKey, UsageSummary,
};

use super::CrashPoint;

pub(super) struct Audit {
    pub(super) inner: Arc<dyn AuditLog>,
    pub(super) plug: Arc<CrashPoint>,
}

#[async_trait]
impl AuditLog for Audit {
    async fn submit(
        &self,
        opening: Opening,
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAuditEntry, AuditError> {
        let is_here = self.plug.hit();
        let mut opened = self.inner.submit(opening, timing, now).await?;
        if is_here {
            let _ = opened.wait_durable().await;
            std::process::abort();
        }
        Ok(opened)
    }

    async fn close(&self, entry: OpenAuditEntry, closing: Closing, now: Timestamp) {
        self.plug.write(self.inner.close(entry, closing, now)).await;
    }

    async fn record_system_event(&self, subject: &str, message: &str, now: Timestamp) -> Result<AuditSeq, AuditError> {
        self.plug.write(self.inner.record_system_event(subject, message, now)).await
    }

    async fn read(&self, before: Option<AuditSeq>, limit: u32) -> Result<AuditPage, AuditError> {
        self.inner.read(before, limit).await
    }

    async fn find(&self, id: &str) -> Result<Vec<Record>, AuditError> {
        self.inner.find(id).await
    }

    async fn verify(&self) -> Result<ChainReport, AuditError> {
        self.inner.verify().await
    }

    async fn prune(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, AuditError> {
        self.plug.write(self.inner.prune(before, now)).await
    }
}

pub(super) struct CrashingLedger {
    pub(super) inner: Arc<dyn Ledger>,
    pub(super) plug: Arc<CrashPoint>,
}

#[async_trait]
impl Ledger for CrashingLedger {
    async fn count(&self, who: &UsageKey, over: Periods, now: Timestamp) -> Result<UsageSummary, StoreError> {
        self.plug.write(self.inner.count(who, over, now)).await
    }

    async fn usage(&self, who: &UsageKey, over: Periods, now: Timestamp) -> Result<UsageSummary, StoreError> {
        self.inner.usage(who, over, now).await
    }

    async fn reserve(
        &self,
        account: &Account,
        limits: &[Limit],
        worst: Amount,
        key: &CallKey,
        now: Timestamp,
    ) -> Result<Reservation, ReserveError> {
        self.plug.write(self.inner.reserve(account, limits, worst, key, now)).await
    }

    async fn settle(
        &self,
        reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Amount, StoreError> {
        self.plug.write(self.inner.settle(reservation, settlement, now)).await
    }

    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError> {
        self.inner.costs(since).await
    }
}
