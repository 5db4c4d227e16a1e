//! Answers by key in memory.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Reply, TenantId, Timestamp};

use crate::error::StoreError;
use crate::idempotency::{IdempotencyStore, KeyStatus};
use crate::in_memory::Shared;
use crate::in_memory::runs::KeyUse;
use crate::runs::DedupKey;

/// The answers.
#[derive(Debug)]
pub(super) struct InMemoryIdempotency(pub(super) Arc<Shared>);

impl KeyUse {
    fn status_for(&self, body: &ContentHash) -> KeyStatus {
        if self.request_hash != *body {
            return KeyStatus::Conflict;
        }
        if let Some(run) = &self.run {
            return KeyStatus::RunStarted(run.clone());
        }
        self.reply.clone().map_or(KeyStatus::InProgress, |reply| KeyStatus::Completed(Box::new(reply)))
    }
}

#[async_trait]
impl IdempotencyStore for InMemoryIdempotency {
    async fn begin(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        body: &ContentHash,
        now: Timestamp,
    ) -> Result<KeyStatus, StoreError> {
        self.0.check_open()?;
        let mut runs = self.0.runs();
        let place = (tenant.clone(), key.to_stored());
        if let Some(used) = runs.keys.get(&place) {
            return Ok(used.status_for(body));
        }
        runs.keys.insert(place, KeyUse { request_hash: *body, run: None, reply: None, at: now });
        Ok(KeyStatus::New)
    }

    async fn finish(&self, tenant: &TenantId, key: &DedupKey, reply: &Reply, now: Timestamp) -> Result<(), StoreError> {
        self.0.check_open()?;
        let mut runs = self.0.runs();
        let open = runs.keys.get_mut(&(tenant.clone(), key.to_stored())).filter(|used| used.reply.is_none());
        if let Some(used) = open {
            used.reply = Some(reply.clone());
            used.at = now;
        }
        Ok(())
    }

    async fn abandon(&self, tenant: &TenantId, key: &DedupKey) -> Result<(), StoreError> {
        self.0.check_open()?;
        let mut runs = self.0.runs();
        let place = (tenant.clone(), key.to_stored());
        if runs.keys.get(&place).is_some_and(|used| used.reply.is_none() && used.run.is_none()) {
            runs.keys.remove(&place);
        }
        Ok(())
    }

    async fn lookup(&self, tenant: &TenantId, key: &DedupKey, body: &ContentHash) -> Result<KeyStatus, StoreError> {
        let runs = self.0.runs();
        Ok(runs.keys.get(&(tenant.clone(), key.to_stored())).map_or(KeyStatus::New, |used| used.status_for(body)))
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.0.check_open()?;
        let mut runs = self.0.runs();
        let all = runs.keys.len();
        runs.keys.retain(|_, used| used.reply.is_none() || used.at >= before);
        Ok((all - runs.keys.len()) as u64)
    }
}
