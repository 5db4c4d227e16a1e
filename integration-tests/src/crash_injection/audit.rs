//! The audit and the ledger, with a plug in each write; what is read passes through.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::audit::{Closing, Opening, Record};
use greenroom_protocol::{CallKey, Timestamp};
use greenroom_registry::StoreError;
use greenroom_registry::audit::{AuditError, AuditLog, AuditPage, AuditSeq, Bracket, Opened, Pruned, Verdict};
use greenroom_registry::group_commit::Haste;
use greenroom_registry::ledger::{
    Account, Amount, CostRow, Ledger, Limit, Periods, Refusal, Reservation, Scope, Settlement, Usage,
};

use super::Plug;

pub(super) struct Audit {
    pub(super) inner: Arc<dyn AuditLog>,
    pub(super) plug: Arc<Plug>,
}

#[async_trait]
impl AuditLog for Audit {
    async fn hand_in(&self, opening: Opening, haste: Haste, now: Timestamp) -> Result<Opened, AuditError> {
        let is_here = self.plug.reach();
        let mut opened = self.inner.hand_in(opening, haste, now).await?;
        if is_here {
            let _ = opened.durable().await;
            std::process::abort();
        }
        Ok(opened)
    }

    async fn close(&self, bracket: Bracket, closing: Closing, now: Timestamp) {
        self.plug.write(self.inner.close(bracket, closing, now)).await;
    }

    async fn note(&self, subject: &str, message: &str, now: Timestamp) -> Result<AuditSeq, AuditError> {
        self.plug.write(self.inner.note(subject, message, now)).await
    }

    async fn read(&self, before: Option<AuditSeq>, limit: u32) -> Result<AuditPage, AuditError> {
        self.inner.read(before, limit).await
    }

    async fn find(&self, id: &str) -> Result<Vec<Record>, AuditError> {
        self.inner.find(id).await
    }

    async fn verify(&self) -> Result<Verdict, AuditError> {
        self.inner.verify().await
    }

    async fn prune(&self, before: Timestamp, now: Timestamp) -> Result<Pruned, AuditError> {
        self.plug.write(self.inner.prune(before, now)).await
    }
}

pub(super) struct Money {
    pub(super) inner: Arc<dyn Ledger>,
    pub(super) plug: Arc<Plug>,
}

#[async_trait]
impl Ledger for Money {
    async fn count(&self, who: &Scope, over: Periods, now: Timestamp) -> Result<Usage, StoreError> {
        self.plug.write(self.inner.count(who, over, now)).await
    }

    async fn usage(&self, who: &Scope, over: Periods, now: Timestamp) -> Result<Usage, StoreError> {
        self.inner.usage(who, over, now).await
    }

    async fn reserve(
        &self,
        account: &Account,
        limits: &[Limit],
        worst: Amount,
        key: &CallKey,
        now: Timestamp,
    ) -> Result<Reservation, Refusal> {
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
