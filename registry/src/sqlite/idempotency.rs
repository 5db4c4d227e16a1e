//! Idempotency keys in SQLite: readers serve lookups, the writer serves writes.

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Reply, TenantId, Timestamp};

use crate::error::StoreError;
use crate::idempotency::{IdempotencyStore, KeyStatus};
use crate::runs::DedupKey;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::statement_batch::from_int;

use commands::{AbandonKey, BeginKey, FinishKey, PruneKeys};
use key_row::decode_row;

mod commands;
pub(super) mod key_row;

/// The idempotency keys.
pub(super) struct SqliteIdempotency(pub(super) StoreHandle);

#[async_trait]
impl IdempotencyStore for SqliteIdempotency {
    async fn begin(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
        now: Timestamp,
    ) -> Result<KeyStatus, StoreError> {
        let key = (key.to_stored(), tenant.clone());
        self.0.queue.execute(BeginKey { key, request_hash: *request_hash, now }).await
    }

    async fn finish(&self, tenant: &TenantId, key: &DedupKey, reply: &Reply, now: Timestamp) -> Result<(), StoreError> {
        let (key, reply) = ((key.to_stored(), tenant.clone()), serde_json::to_string(reply)?);
        self.0.queue.execute(FinishKey { key, reply, now }).await
    }

    async fn abandon(&self, tenant: &TenantId, key: &DedupKey) -> Result<(), StoreError> {
        self.0.queue.execute(AbandonKey { key: (key.to_stored(), tenant.clone()) }).await
    }

    async fn lookup(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
    ) -> Result<KeyStatus, StoreError> {
        let row = sqlx::query("SELECT request_hash, run, reply FROM idempotency_keys WHERE key = ? AND tenant = ?")
            .bind(key.to_stored())
            .bind(tenant.as_str())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        row.map_or(Ok(KeyStatus::New), |row| decode_row(&row)?.status_for(request_hash))
    }

    async fn prune(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) FROM idempotency_keys \
                   WHERE reply IS NOT NULL AND at < ?1 AND (?2 IS NULL OR tenant = ?2)";
        let count: i64 = sqlx::query_scalar(sql)
            .bind(before.as_micros())
            .bind(tenant.map(TenantId::as_str))
            .fetch_one(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        self.0.queue.execute(PruneKeys { tenant: tenant.cloned(), before }).await?;
        Ok(from_int(count))
    }
}
