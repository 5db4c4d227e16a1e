//! Stores in one SQLite file: one connection writes, in commits that many callers share, and a few
//! read. What is decided on the way lives beside the traits; here it is only kept.
//!
//! The file is in WAL mode. With [`Synchronous::Full`] nothing that was answered is lost, whatever
//! happens; with [`Synchronous::Normal`] a power cut may take the last second, a crash nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::Clock;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use crate::error::StoreError;
use crate::group_commit::{CommandSender, queue};
use crate::ledger::state::LedgerState;
use crate::notify::RunNotifiers;
use crate::runs::leases::Leases;
use crate::{OpenedStores, StoreParts, StoreTask as Task, Stores, SyncMode};

use commands::Command;
use writer::Writer;

mod agent_memory;
mod audit;
mod commands;
mod context;
mod definitions;
mod idempotency;
pub(crate) mod inspect;
mod ledger;
mod maintenance;
mod recovery;
mod runs;
mod statement_batch;
mod writer;

/// Connections that read.
const READERS_MAX: u32 = 4;
/// How long a statement waits for another process that has the file locked.
const BUSY_WAIT: Duration = Duration::from_secs(2);
/// How long a reader waits for a connection.
const READER_WAIT: Duration = Duration::from_secs(10);
/// Statements that a connection keeps prepared.
const PREPARED_MAX: usize = 512;
/// Pages of 4 KiB in the log after which a commit writes them back to the file. Whoever waits for that
/// commit waits for them too: 1.5 ms each time, where four times as many pages take 6.5 ms.
const CHECKPOINT_PAGES: u32 = 1000;
/// KiB that the writing connection keeps of the file. SQLite walks all of it at most commits, because
/// pages that change places take a number for a moment that is behind the end of the file.
const CACHE_KIB: i32 = 8192;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// What the stores of one file share.
struct Shared {
    path: PathBuf,
    readers: SqlitePool,
    queue: CommandSender<Command>,
    state: Mutex<LedgerState>,
    leases: Leases,
    /// The numbers of the brackets that are open.
    open: Mutex<BTreeSet<u64>>,
    journal_notifiers: RunNotifiers,
    context_notifiers: RunNotifiers,
    clock: Arc<dyn Clock>,
}

impl Shared {
    /// A panic under this lock leaves a whole book: each of its methods changes it in one step.
    fn state(&self) -> MutexGuard<'_, LedgerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changed once a commit, when its records are durable.
    fn open_entries(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything that was told before is durable.
    async fn flush(&self) -> Result<(), StoreError> {
        self.queue.request(Command::Flush).await
    }
}

/// Opens every store.
pub(crate) async fn open(path: &Path, synchronous: SyncMode, parts: StoreParts) -> Result<OpenedStores, StoreError> {
    let StoreParts { clock, signer, artifacts } = parts;
    let options = options(path, synchronous);
    let mut connection = options.clone().create_if_missing(true).connect().await.map_err(|error| failed(&error))?;
    MIGRATIONS.run(&mut connection).await.map_err(migration_failed)?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(READER_WAIT)
        .connect_lazy_with(options.read_only(true));
    let (sender, inbox) = queue();
    let shared = Arc::new(Shared {
        path: path.to_owned(),
        readers,
        queue: sender,
        state: Mutex::default(),
        leases: Leases::default(),
        open: Mutex::default(),
        journal_notifiers: RunNotifiers::default(),
        context_notifiers: RunNotifiers::default(),
        clock,
    });
    let signer = Arc::new(signer);
    let conn = write_conn(path, synchronous).map_err(|error| write_error(&error))?;
    let mut writer = Writer::new(conn, connection, shared.clone(), signer.clone(), synchronous).await?;
    recovery::recover(&mut writer).await?;
    let runs = Arc::new(runs::SqliteRuns(shared.clone()));
    let audit = Arc::new(audit::SqliteAudit { shared: shared.clone(), signer: signer.clone() });
    let stores = Stores {
        runs: runs.clone(),
        journal: runs,
        audit,
        ledger: Arc::new(ledger::SqliteLedger(shared.clone())),
        context: Arc::new(context::SqliteContext(shared.clone())),
        artifacts,
        definitions: Arc::new(definitions::SqliteDefinitions(shared.clone())),
        idempotency: Arc::new(idempotency::SqliteIdempotency(shared.clone())),
        memory: Arc::new(agent_memory::SqliteMemories(shared.clone())),
        maintenance: Arc::new(maintenance::SqliteUpkeep { shared, signer }),
    };
    let task = Task { name: "store_writer", run: Box::pin(writer.run(inbox)) };
    Ok(OpenedStores { stores, tasks: vec![task] })
}

fn options(path: &Path, synchronous: SyncMode) -> SqliteConnectOptions {
    let synchronous = match synchronous {
        SyncMode::Full => SqliteSynchronous::Full,
        SyncMode::Normal => SqliteSynchronous::Normal,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_WAIT)
        .statement_cache_capacity(PREPARED_MAX)
        .disable_statement_logging()
}

/// The connection that writes: docs/adr/0019.
fn write_conn(path: &Path, synchronous: SyncMode) -> rusqlite::Result<rusqlite::Connection> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = rusqlite::Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_WAIT)?;
    conn.set_prepared_statement_cache_capacity(PREPARED_MAX);
    let synchronous = match synchronous {
        SyncMode::Full => "FULL",
        SyncMode::Normal => "NORMAL",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(conn)
}

/// Another connection of its own, for what takes long.
async fn connect_dedicated(path: &Path) -> Result<SqliteConnection, StoreError> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_WAIT).disable_statement_logging();
    SqliteConnection::connect_with(&options).await.map_err(|error| failed(&error))
}

/// SQLite's primary result codes that a user can do something about.
fn failed(error: &sqlx::Error) -> StoreError {
    let code = match error {
        sqlx::Error::Database(database) => database.code().and_then(|code| code.parse::<u32>().ok()),
        sqlx::Error::PoolTimedOut => return StoreError::Timeout,
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => return StoreError::Closed,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => return StoreError::Codec(error.to_string()),
        _ => None,
    };
    of_code(code, error.to_string())
}

/// The same of the connection that writes.
fn write_error(error: &rusqlite::Error) -> StoreError {
    of_code(error.sqlite_error().map(|error| error.extended_code.unsigned_abs()), error.to_string())
}

fn of_code(code: Option<u32>, text: String) -> StoreError {
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => StoreError::Locked,
        Some(8) => StoreError::ReadOnly,
        Some(10) => StoreError::Disk(text),
        Some(11 | 26) => StoreError::Corrupt(text),
        Some(13) => StoreError::Full,
        _ => StoreError::Failed(text),
    }
}

fn migration_failed(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failed(&error),
        MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
            StoreError::Version(format!("it has schema {version}, which this release does not know"))
        }
        other => StoreError::Version(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
