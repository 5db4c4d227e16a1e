//! Idempotency keys in SQLite: readers serve lookups, the writer serves writes.

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Reply, TenantId, Timestamp};

use crate::error::StoreError;
use crate::idempotency::{IdempotencyStore, KeyStatus};
use crate::runs::DedupKey;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;

use commands::{AbandonKey, BeginKey, FinishKey, PruneKeys};
use key_row::decode_row;

mod commands;
pub(super) mod key_row;

/// Keys that one commit prunes, so that other commits go on between them.
const PRUNED_KEYS_MAX: u32 = 1_000;

const SELECT_OLD: &str = "SELECT key, tenant FROM idempotency_keys WHERE reply IS NOT NULL AND at < ?1 \
                          AND (?2 IS NULL OR tenant = ?2) AND (key, tenant) > (?3, ?4) ORDER BY key, tenant LIMIT ?5";

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
        let (mut pruned, mut after) = (0, (String::new(), String::new()));
        loop {
            let rows = sqlx::query(SELECT_OLD)
                .bind(before.as_micros())
                .bind(tenant.map(TenantId::as_str))
                .bind(&after.0)
                .bind(&after.1)
                .bind(PRUNED_KEYS_MAX)
                .fetch_all(&self.0.readers)
                .await
                .map_err(|error| sqlx_error(&error))?;
            let keys = rows.iter().map(|row| Ok((row.text("key")?.to_owned(), row.text("tenant")?.to_owned())));
            let keys = keys.collect::<Result<Vec<_>, StoreError>>()?;
            let Some(last) = keys.last().cloned() else { return Ok(pruned) };
            pruned += keys.len() as u64;
            after = last;
            self.0.queue.execute(PruneKeys { keys, before }).await?;
        }
    }
}
