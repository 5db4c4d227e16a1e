//! Idempotency keys in memory.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Reply, TenantId, Timestamp};

use crate::error::StoreError;
use crate::idempotency::{IdempotencyStore, KeyStatus};
use crate::in_memory::run_data::KeyUse;
use crate::in_memory::shared::Shared;
use crate::runs::DedupKey;

/// The idempotency keys.
#[derive(Debug)]
pub(super) struct InMemoryIdempotency(pub(super) Arc<Shared>);

#[async_trait]
impl IdempotencyStore for InMemoryIdempotency {
    async fn begin(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
        now: Timestamp,
    ) -> Result<KeyStatus, StoreError> {
        self.0.check_open()?;
        let mut runs = self.0.runs();
        let scoped_key = (tenant.clone(), key.to_stored());
        if let Some(key_use) = runs.keys.get(&scoped_key) {
            return Ok(key_use.status_for(request_hash));
        }
        runs.keys.insert(scoped_key, KeyUse { request_hash: *request_hash, run: None, reply: None, at: now });
        Ok(KeyStatus::New)
    }

    async fn finish(&self, tenant: &TenantId, key: &DedupKey, reply: &Reply, now: Timestamp) -> Result<(), StoreError> {
        self.0.check_open()?;
        let mut runs = self.0.runs();
        let open = runs.keys.get_mut(&(tenant.clone(), key.to_stored())).filter(|key_use| key_use.reply.is_none());
        if let Some(key_use) = open {
            key_use.reply = Some(reply.clone());
            key_use.at = now;
        }
        Ok(())
    }

    async fn abandon(&self, tenant: &TenantId, key: &DedupKey) -> Result<(), StoreError> {
        self.0.check_open()?;
        let mut runs = self.0.runs();
        let scoped_key = (tenant.clone(), key.to_stored());
        if runs.keys.get(&scoped_key).is_some_and(|key_use| key_use.reply.is_none() && key_use.run.is_none()) {
            runs.keys.remove(&scoped_key);
        }
        Ok(())
    }

    async fn lookup(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
    ) -> Result<KeyStatus, StoreError> {
        let runs = self.0.runs();
        Ok(runs
            .keys
            .get(&(tenant.clone(), key.to_stored()))
            .map_or(KeyStatus::New, |key_use| key_use.status_for(request_hash)))
    }

    async fn prune(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        self.0.check_open()?;
        let mut runs = self.0.runs();
        let all = runs.keys.len();
        runs.keys.retain(|(owner, _), key_use| {
            tenant.is_some_and(|tenant| tenant != owner) || key_use.reply.is_none() || key_use.at >= before
        });
        Ok((all - runs.keys.len()) as u64)
    }
}
