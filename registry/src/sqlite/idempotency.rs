//! Idempotency keys in SQLite, as they are read and pruned.

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, TenantId};

use crate::error::StoreError;
use crate::idempotency::{IdempotencyStore, KeyStatus};
use crate::runs::DedupKey;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;

use key_index::KeyIndex;
use key_row::{SELECT_KEY, decode_row};

mod key_index;
pub(super) mod key_row;
pub(super) mod prune;

/// The idempotency keys.
pub(super) struct SqliteIdempotency {
    store: StoreHandle,
    index: KeyIndex,
}

impl SqliteIdempotency {
    pub(super) fn new(store: StoreHandle) -> Self {
        Self { index: KeyIndex::new(&store.path), store }
    }
}

#[async_trait]
impl IdempotencyStore for SqliteIdempotency {
    async fn lookup(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
    ) -> Result<KeyStatus, StoreError> {
        let key = (key.to_stored(), tenant.clone());
        // After an error, a reader waits and reports what is wrong.
        if let Ok(false) = self.index.contains(&key) {
            return Ok(KeyStatus::New);
        }
        let query = sqlx::query(SELECT_KEY).bind(key.0).bind(tenant.as_str());
        let row = query.fetch_optional(&self.store.readers).await.map_err(|error| sqlx_error(&error))?;
        row.map_or(Ok(KeyStatus::New), |row| decode_row(&row)?.status_for(request_hash))
    }
}
