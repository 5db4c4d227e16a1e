//! Idempotency keys in PostgreSQL, as they are read and pruned.

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, TenantId, Timestamp};

use crate::columns::Columns as _;
use crate::error::StoreError;
use crate::idempotency::key_row::used_by_same;
use crate::idempotency::{IdempotencyStore, KeyStatus};
use crate::postgres::error::sqlx_error;
use crate::postgres::handle::StoreHandle;
use crate::postgres::transaction::{begin, commit};
use crate::runs::DedupKey;

/// Keys of one piece.
const PRUNED_KEYS_MAX: u64 = 1_000;

const DELETE_OLD: &str = "DELETE FROM idempotency_keys WHERE (key, tenant) IN (\
                          SELECT key, tenant FROM idempotency_keys WHERE reply IS NOT NULL AND at < $1 \
                          AND ($2::text IS NULL OR tenant = $2) ORDER BY key, tenant LIMIT $3 FOR UPDATE)";

/// The idempotency keys.
pub(super) struct PostgresIdempotency(pub(super) StoreHandle);

#[async_trait]
impl IdempotencyStore for PostgresIdempotency {
    async fn lookup(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
    ) -> Result<KeyStatus, StoreError> {
        let row = sqlx::query("SELECT request_hash, run, reply FROM idempotency_keys WHERE key = $1 AND tenant = $2")
            .bind(key.to_stored())
            .bind(tenant.as_str())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let Some(row) = row else { return Ok(KeyStatus::New) };
        if row.hash("request_hash")? != *request_hash {
            return Ok(KeyStatus::Conflict);
        }
        used_by_same(row.optional_id("run")?.as_ref(), row.optional_text("reply")?)
    }
}

/// Deletes the keys whose reply was stored before a time, in pieces, and returns their number.
pub(super) async fn prune(
    store: &StoreHandle,
    tenant: Option<&TenantId>,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let mut pruned = 0;
    loop {
        let mut transaction = begin(store).await?;
        let deleted = sqlx::query(DELETE_OLD)
            .bind(before.as_micros())
            .bind(tenant.map(TenantId::as_str))
            .bind(i64::try_from(PRUNED_KEYS_MAX).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await
            .map_err(|error| sqlx_error(&error))?
            .rows_affected();
        commit(transaction).await?;
        pruned += deleted;
        if deleted < PRUNED_KEYS_MAX {
            return Ok(pruned);
        }
    }
}
