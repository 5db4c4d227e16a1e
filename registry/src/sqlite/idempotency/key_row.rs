//! Idempotency keys as rows, and prefetching those that a batch needs.

use std::collections::HashMap;

use greenroom_protocol::Timestamp;
use rusqlite::Connection;

use crate::error::StoreError;
use crate::idempotency::StoredKey;
pub(in crate::sqlite) use crate::idempotency::key_row::KeyRow;
use crate::sqlite::columns::{Columns, select};
use crate::sqlite::statement_batch::{SqlValue, StatementBatch};

/// Inserts a key, or stores the reply of an existing one. Only this column and the time of an existing
/// key change.
const UPSERT_KEY: &str = "INSERT INTO idempotency_keys (key, tenant, request_hash, run, reply, at, pod) \
                          VALUES (?, ?, ?, ?, ?, ?, ?) \
                          ON CONFLICT (key, tenant) DO UPDATE SET reply = excluded.reply, at = excluded.at";
/// Selects what [`decode_row`] reads.
pub(super) const SELECT_KEY: &str = "SELECT request_hash, run, reply, pod FROM idempotency_keys \
                                     WHERE key = ? AND tenant = ?";

/// The stored keys of one batch; `None` for a key that does not exist, an error for one that cannot be read.
pub(in crate::sqlite) type KeyRows = HashMap<StoredKey, Result<Option<KeyRow>, StoreError>>;

impl KeyRow {
    /// Adds the statement that stores the row.
    pub(in crate::sqlite) fn upsert(&self, (key, tenant): &StoredKey, at: Timestamp, statements: &mut StatementBatch) {
        let values = vec![
            key.as_str().into(),
            tenant.as_str().into(),
            SqlValue::from(&self.request_hash),
            self.run.as_ref().map(|run| run.as_str()).into(),
            self.reply.clone().into(),
            at.as_micros().into(),
            self.pod.as_str().into(),
        ];
        statements.add(UPSERT_KEY, values);
    }
}

/// Decodes a row.
pub(super) fn decode_row(row: &impl Columns) -> Result<KeyRow, StoreError> {
    let reply = row.optional_text("reply")?.map(str::to_owned);
    Ok(KeyRow { request_hash: row.hash("request_hash")?, run: row.optional_id("run")?, reply, pod: row.id("pod")? })
}

/// Reads these keys.
pub(in crate::sqlite) fn prefetch_keys(conn: &Connection, keys: Vec<StoredKey>, rows: &mut KeyRows) {
    for key in keys {
        let found = select(conn, SELECT_KEY, [key.0.as_str(), key.1.as_str()], |row| decode_row(row));
        rows.insert(key, found.map(|rows| rows.into_iter().next()));
    }
}
