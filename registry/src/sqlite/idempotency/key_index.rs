//! Whether a key exists, found on the thread of the caller.
//!
//! Nearly every key is new. The readers have threads of their own, and a query of theirs wakes three of them, which takes
//! many times as long as a search of the index that the system has in memory.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::idempotency::StoredKey;

const FIND_KEY: &str = "SELECT 1 FROM idempotency_keys WHERE key = ? AND tenant = ?";

/// A connection that only searches for keys.
pub(super) struct KeyIndex {
    path: PathBuf,
    conn: Mutex<Option<Connection>>,
}

impl KeyIndex {
    /// The index of the file at this path, which is opened at the first search.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), conn: Mutex::default() }
    }

    /// True if the key exists; an error if another process has locked the file, for which this does not wait.
    pub(super) fn contains(&self, (key, tenant): &StoredKey) -> rusqlite::Result<bool> {
        let mut opened = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        let conn = match &*opened {
            Some(conn) => conn,
            None => opened.insert(self.open()?),
        };
        let mut statement = conn.prepare_cached(FIND_KEY)?;
        let found: Option<i64> = statement.query_row([key.as_str(), tenant.as_str()], |row| row.get(0)).optional()?;
        Ok(found.is_some())
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.busy_timeout(std::time::Duration::ZERO)?;
        Ok(conn)
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::TenantId;

    use super::*;

    #[test]
    fn a_key_is_found_as_soon_as_it_is_committed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.db");
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.execute_batch(include_str!("../../../migrations/sqlite/0001_stores.sql")).unwrap();
        writer.execute_batch(include_str!("../../../migrations/sqlite/0005_keys_in_order.sql")).unwrap();
        let index = KeyIndex::new(&path);
        let key = ("a".to_owned(), TenantId::new("acme").unwrap());
        assert!(!index.contains(&key).unwrap());
        let insert = "INSERT INTO idempotency_keys (key, tenant, request_hash, at, pod) \
                      VALUES ('a', 'acme', zeroblob(32), 1, 'p')";
        writer.execute_batch(&format!("BEGIN; {insert}")).unwrap();
        assert!(!index.contains(&key).unwrap(), "it is not committed");
        writer.execute_batch("COMMIT").unwrap();
        assert!(index.contains(&key).unwrap());
        assert!(!index.contains(&("a".to_owned(), TenantId::new("globex").unwrap())).unwrap());
    }

    #[test]
    fn a_file_that_another_connection_has_locked_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.db");
        let writer = Connection::open(&path).unwrap();
        writer.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL").unwrap();
        writer.execute_batch(include_str!("../../../migrations/sqlite/0001_stores.sql")).unwrap();
        let error = KeyIndex::new(&path).contains(&("a".to_owned(), TenantId::new("acme").unwrap())).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy), "{error}");
    }

    #[test]
    fn a_key_is_found_by_the_index_alone() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../../../migrations/sqlite/0001_stores.sql")).unwrap();
        conn.execute_batch(include_str!("../../../migrations/sqlite/0005_keys_in_order.sql")).unwrap();
        let plan = conn.query_row(&format!("EXPLAIN QUERY PLAN {FIND_KEY}"), ["", ""], |row| row.get::<_, String>(3));
        let plan = plan.unwrap();
        assert!(plan.contains("COVERING INDEX idempotency_keys_by_key (key=? AND tenant=?)"), "{plan}");
    }
}
