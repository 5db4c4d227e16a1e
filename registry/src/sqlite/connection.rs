//! The connections to one SQLite file: sqlx migrates and reads, rusqlite serves the writer's thread
//! (docs/adr/0019).

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use crate::error::StoreError;
use crate::error::migration::migration_error;
use crate::migrations::{Listed, migrator};
use crate::sqlite::error::{rusqlite_error, sqlx_error};
use crate::stores::SyncMode;

/// Connections that read.
const READERS_MAX: u32 = 4;
/// How long a statement waits for another process that has locked the file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a reader waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements that a connection caches.
const PREPARED_STATEMENTS_MAX: usize = 512;
/// Pages of 4 KiB in the write-ahead log after which a commit checkpoints it. The callers of that
/// commit wait for the checkpoint too: 1.5 ms each time, where four times as many pages take 6.5 ms.
const CHECKPOINT_PAGES: u32 = 1000;
/// KiB of the file that the writing connection caches. SQLite scans the whole cache at most commits,
/// because pages that are moved temporarily have a number after the end of the file.
const CACHE_KIB: i32 = 8192;

/// The migrations, in the order of their numbers.
const LISTED: [Listed; 5] = [
    (1, "stores", include_str!("../../migrations/sqlite/0001_stores.sql")),
    (2, "generations", include_str!("../../migrations/sqlite/0002_generations.sql")),
    (3, "credentials", include_str!("../../migrations/sqlite/0003_credentials.sql")),
    (4, "memories", include_str!("../../migrations/sqlite/0004_memories.sql")),
    (5, "keys in order", include_str!("../../migrations/sqlite/0005_keys_in_order.sql")),
];

static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| migrator(&LISTED));

/// Creates the file if it does not exist, migrates its schema, and opens the pool of readers.
pub(super) async fn open_readers(path: &Path, sync_mode: SyncMode) -> Result<SqlitePool, StoreError> {
    let options = reader_options(path, sync_mode);
    let creating = options.clone().create_if_missing(true);
    let mut connection = creating.connect().await.map_err(|error| sqlx_error(&error))?;
    MIGRATIONS.run(&mut connection).await.map_err(|error| migration_error(error, sqlx_error))?;
    connection.close().await.map_err(|error| sqlx_error(&error))?;
    Ok(SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options.read_only(true)))
}

fn reader_options(path: &Path, sync_mode: SyncMode) -> SqliteConnectOptions {
    let synchronous = match sync_mode {
        SyncMode::Full => SqliteSynchronous::Full,
        SyncMode::Normal => SqliteSynchronous::Normal,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(PREPARED_STATEMENTS_MAX)
        .disable_statement_logging()
}

/// Opens the one connection of the writer, which reads and writes.
pub(super) fn open_write_connection(path: &Path, sync_mode: SyncMode) -> Result<rusqlite::Connection, StoreError> {
    try_open_write_connection(path, sync_mode).map_err(|error| rusqlite_error(&error))
}

fn try_open_write_connection(path: &Path, sync_mode: SyncMode) -> rusqlite::Result<rusqlite::Connection> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = rusqlite::Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS_MAX);
    let synchronous = match sync_mode {
        SyncMode::Full => "FULL",
        SyncMode::Normal => "NORMAL",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(conn)
}

/// Opens a connection for one long operation, so that it occupies no reader of the pool.
pub(super) async fn connect_dedicated(path: &Path) -> Result<SqliteConnection, StoreError> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT).disable_statement_logging();
    SqliteConnection::connect_with(&options).await.map_err(|error| sqlx_error(&error))
}

/// Checkpoints the write-ahead log in one of the modes of SQLite.
pub(super) fn checkpoint(conn: &rusqlite::Connection, mode: &str) -> Result<(), StoreError> {
    // The result row counts the pages that were written back, which does not matter here.
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())).map_err(|error| rusqlite_error(&error))
}

#[cfg(test)]
mod tests {
    use super::LISTED;
    use crate::migrations::assert_complete;

    #[test]
    fn each_file_of_a_migration_is_listed() {
        assert_complete(&LISTED, "sqlite");
    }
}
