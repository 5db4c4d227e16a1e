//! Idempotency keys as rows, and prefetching those that a batch needs.

use std::collections::HashMap;

use greenroom_protocol::Timestamp;
use rusqlite::Connection;

use crate::error::StoreError;
use crate::idempotency::StoredKey;
pub(in crate::sqlite) use crate::idempotency::key_row::KeyRow;
use crate::sqlite::columns::{Columns, select};
use crate::sqlite::statement_batch::{SqlValue, StatementBatch};

/// Inserts a key, or stores the reply of an existing one: its row is moved to the end of the table, where the rows of
/// other replies of the same commit are. In its place it would not fit any more.
const UPSERT_KEY: &str = "INSERT OR REPLACE INTO idempotency_keys (key, tenant, request_hash, run, reply, at, pod) \
                          VALUES (?, ?, ?, ?, ?, ?, ?)";
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

#[cfg(test)]
mod tests {
    use greenroom_protocol::TenantId;

    use super::*;

    const STORES: &str = include_str!("../../../migrations/sqlite/0001_stores.sql");
    const KEYS_IN_ORDER: &str = include_str!("../../../migrations/sqlite/0005_keys_in_order.sql");

    /// The key and the reply of each row, in the order of the table.
    fn stored(conn: &Connection) -> Vec<(String, Option<String>)> {
        let mut rows = conn.prepare("SELECT key, reply FROM idempotency_keys ORDER BY number").unwrap();
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn keys_of_an_earlier_release_remain_and_a_reply_moves_its_key_to_the_end() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(STORES).unwrap();
        let insert = "INSERT INTO idempotency_keys (key, tenant, request_hash, reply, at, pod) \
                      VALUES ('b', 'acme', zeroblob(32), 'first', 1, 'p'), ('a', 'acme', zeroblob(32), NULL, 2, 'p')";
        conn.execute_batch(insert).unwrap();
        conn.execute_batch(KEYS_IN_ORDER).unwrap();
        assert_eq!(stored(&conn), [("b".to_owned(), Some("first".to_owned())), ("a".to_owned(), None)]);

        let (key, tenant) = ("a".to_owned(), TenantId::new("acme").unwrap());
        let new_key = ("c".to_owned(), tenant.clone());
        let mut rows = KeyRows::new();
        prefetch_keys(&conn, vec![(key.clone(), tenant.clone()), new_key.clone()], &mut rows);
        let reserved = rows[&(key.clone(), tenant.clone())].clone().unwrap().unwrap();
        assert!(matches!(rows[&new_key], Ok(None)));
        let mut statements = StatementBatch::default();
        reserved.upsert(&new_key, Timestamp::from_micros(3), &mut statements);
        let replied = KeyRow { reply: Some("second".to_owned()), ..reserved };
        replied.upsert(&(key, tenant), Timestamp::from_micros(4), &mut statements);
        statements.execute(&mut conn).unwrap();
        let keys: Vec<_> = stored(&conn).into_iter().map(|(key, reply)| (key, reply.unwrap_or_default())).collect();
        let expected = [("b", "first"), ("c", ""), ("a", "second")];
        assert_eq!(keys, expected.map(|(key, reply)| (key.to_owned(), reply.to_owned())));
    }

    #[test]
    fn a_key_is_found_and_replaced_by_its_index() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(STORES).unwrap();
        conn.execute_batch(KEYS_IN_ORDER).unwrap();
        let plan = conn.query_row(&format!("EXPLAIN QUERY PLAN {SELECT_KEY}"), ["", ""], |row| row.get::<_, String>(3));
        let plan = plan.unwrap();
        assert!(plan.contains("idempotency_keys_by_key (key=? AND tenant=?)"), "{plan}");
    }
}
