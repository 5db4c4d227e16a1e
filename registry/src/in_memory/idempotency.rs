//! Idempotency keys in memory.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, TenantId};

use crate::error::StoreError;
use crate::idempotency::{IdempotencyStore, KeyStatus};
use crate::in_memory::shared::Shared;
use crate::runs::DedupKey;

/// The idempotency keys.
pub(super) struct InMemoryIdempotency(pub(super) Arc<Shared>);

#[async_trait]
impl IdempotencyStore for InMemoryIdempotency {
    async fn lookup(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
    ) -> Result<KeyStatus, StoreError> {
        let runs = self.0.runs();
        Ok(runs
            .keys
            .get(&(key.to_stored(), tenant.clone()))
            .map_or(KeyStatus::New, |key_use| key_use.status_for(request_hash)))
    }
}
