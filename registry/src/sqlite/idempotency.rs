//! Idempotency keys in SQLite, as they are read and pruned.

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, TenantId};

use crate::error::StoreError;
use crate::idempotency::{IdempotencyStore, KeyStatus};
use crate::runs::DedupKey;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;

use key_row::{SELECT_KEY, decode_row};

pub(super) mod key_row;
pub(super) mod prune;

/// The idempotency keys.
pub(super) struct SqliteIdempotency(pub(super) StoreHandle);

#[async_trait]
impl IdempotencyStore for SqliteIdempotency {
    async fn lookup(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
    ) -> Result<KeyStatus, StoreError> {
        let row = sqlx::query(SELECT_KEY)
            .bind(key.to_stored())
            .bind(tenant.as_str())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        row.map_or(Ok(KeyStatus::New), |row| decode_row(&row)?.status_for(request_hash))
    }
}
