//! The connections to one PostgreSQL database, and its schema.

use std::sync::LazyLock;
use std::time::Duration;

use greenroom_protocol::{Clock, DatabaseTime, Timestamp};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::timeout;

use crate::columns::Columns as _;
use crate::error::migration::migration_error;
use crate::error::{ServerFault, StoreError};
use crate::migrations::{Listed, migrator};
use crate::postgres::error::{UNDEFINED_TABLE, postgres_error, sqlx_error};
use crate::postgres::tls::check_authorities;

/// How long a new connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement on few rows may take.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a statement that reads thousands of rows may take.
pub(super) const PAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a statement that searches a whole table may take.
pub(super) const SEARCH_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The oldest server whose functions are those that the schema needs, as the server numbers its versions.
const SERVER_VERSION_MIN: u32 = 150_000;
/// The name by which the server knows the connections, unless the URL has another.
const APPLICATION: &str = "greenroom";
/// The settings of each session. The functions of the database lock what they decide on, and read it after that, which
/// other isolations prevent. The server looks for a client that is silent, because the locks of one whose network is cut
/// would delay other pods for hours otherwise.
const SESSION: [(&str, &str); 4] = [
    ("default_transaction_isolation", "read committed"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
];

/// The migrations, in the order of their numbers.
const LISTED: [Listed; 15] = [
    (1, "stores", include_str!("../../migrations/postgres/0001_stores.sql")),
    (2, "commit", include_str!("../../migrations/postgres/0002_commit.sql")),
    (3, "accounts", include_str!("../../migrations/postgres/0003_accounts.sql")),
    (4, "pods", include_str!("../../migrations/postgres/0004_pods.sql")),
    (5, "generations", include_str!("../../migrations/postgres/0005_generations.sql")),
    (6, "cluster format", include_str!("../../migrations/postgres/0006_cluster_format.sql")),
    (7, "fewer statements", include_str!("../../migrations/postgres/0007_fewer_statements.sql")),
    (8, "credentials", include_str!("../../migrations/postgres/0008_credentials.sql")),
    (9, "journal versions", include_str!("../../migrations/postgres/0009_journal_versions.sql")),
    (10, "accounts", include_str!("../../migrations/postgres/0010_accounts.sql")),
    (11, "memories", include_str!("../../migrations/postgres/0011_memories.sql")),
    (12, "plain batches", include_str!("../../migrations/postgres/0012_plain_batches.sql")),
    (13, "artifact locations", include_str!("../../migrations/postgres/0013_artifact_locations.sql")),
    (14, "root anchors", include_str!("../../migrations/postgres/0014_root_anchors.sql")),
    (15, "lookups", include_str!("../../migrations/postgres/0015_lookups.sql")),
];

static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| migrator(&LISTED));

/// Reads the URL of a database.
pub(super) fn parse_url(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = url.parse::<PgConnectOptions>().map_err(|error| sqlx_error(&error))?;
    check_authorities(url, &options)?;
    let named = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name(APPLICATION),
    };
    // Statements may contain the inputs of users.
    Ok(named.options(SESSION).disable_statement_logging())
}

/// Opens a connection.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let connection = match timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(connected) => connected.map_err(|error| sqlx_error(&error))?,
        Err(_) => return Err(StoreError::Unreachable("its server does not reply".to_owned())),
    };
    check_server(connection.server_version_num())?;
    Ok(connection)
}

/// Rejects a server that is too old. One that does not name its version is not rejected.
fn check_server(version: Option<u32>) -> Result<(), StoreError> {
    match version {
        Some(version) if version < SERVER_VERSION_MIN => {
            let reason = format!("it is PostgreSQL {}", version / 10_000);
            Err(StoreError::Refused { fault: ServerFault::Outdated, reason })
        }
        Some(_) | None => Ok(()),
    }
}

/// Waits for a statement, at most for this long: a server that accepts what is sent and is silent delays its caller no
/// longer. The connection of a statement that has not ended must not be used any more.
pub(super) async fn in_time<T>(
    time_max: Duration,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match timeout(time_max, statement).await {
        Ok(result) => result.map_err(|error| sqlx_error(&error)),
        Err(_) => Err(StoreError::Timeout),
    }
}

/// Reads the clock of the database.
pub(super) async fn read_clock(connection: &mut PgConnection, clock: &dyn Clock) -> Result<DatabaseTime, StoreError> {
    let sent_at = clock.boot_time();
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let micros: i64 = in_time(STATEMENT_TIMEOUT, sqlx::query_scalar(sql).fetch_one(connection)).await?;
    Ok(DatabaseTime { at: Timestamp::from_micros(micros), sent_at, received_at: clock.boot_time() })
}

/// Migrates the schema to that of this release, and returns its version.
pub(super) async fn migrate(url: &str) -> Result<i64, StoreError> {
    let mut connection = connect(&parse_url(url)?).await?;
    MIGRATIONS.run(&mut connection).await.map_err(|error| migration_error(error, sqlx_error))?;
    let version = check_schema(&mut connection).await?;
    connection.close().await.map_err(|error| sqlx_error(&error))?;
    Ok(version)
}

/// An applied migration: its version and its checksum.
pub(super) type Applied = (i64, Vec<u8>);

/// Checks that this release works on the schema of a database, and returns its version.
pub(super) async fn check_schema(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let version = judge_schema(&applied_migrations(connection).await?)?;
    check_functions(connection).await?;
    Ok(version)
}

/// Fails if the database lacks a function that its migrations have created: a copy may have been restored without them.
pub(super) async fn check_functions(connection: &mut PgConnection) -> Result<(), StoreError> {
    let names: Vec<&str> = MIGRATIONS.iter().flat_map(|migration| created_functions(migration.sql.as_str())).collect();
    let sql = "SELECT f.name FROM unnest($1::text[]) AS f (name) WHERE to_regproc(f.name) IS NULL ORDER BY 1";
    let missing = sqlx::query_scalar(sql).bind(names.as_slice()).fetch_all(connection);
    let missing: Vec<String> = in_time(STATEMENT_TIMEOUT, missing).await?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!("it has no function {}", missing.join(", "))))
}

/// The names of the functions that a migration creates.
fn created_functions(sql: &str) -> impl Iterator<Item = &str> {
    sql.split("CREATE FUNCTION ").skip(1).filter_map(|rest| rest.split('(').next()).map(str::trim)
}

/// The migrations of a database, the oldest first; none if it was never migrated.
pub(super) async fn applied_migrations(connection: &mut PgConnection) -> Result<Vec<Applied>, StoreError> {
    let sql = "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";
    let reading = timeout(STATEMENT_TIMEOUT, sqlx::query(sql).fetch_all(connection)).await;
    match reading.map_err(|_| StoreError::Timeout)? {
        Ok(rows) => rows.iter().map(|row| Ok((row.int("version")?, row.bytes("checksum")?.to_vec()))).collect(),
        Err(error) if postgres_error(&error).is_some_and(|error| error.code() == UNDEFINED_TABLE) => Ok(Vec::new()),
        Err(error) => Err(sqlx_error(&error)),
    }
}

/// Migrations are additive, so a release works on its own schema and on the next one.
pub(super) fn judge_schema(applied: &[Applied]) -> Result<i64, StoreError> {
    let found = applied.last().map_or(0, |(version, _)| *version);
    let needed = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    if found > needed + 1 {
        return Err(StoreError::Version(format!("its schema is {found}, which this release does not know")));
    }
    for migration in MIGRATIONS.iter() {
        match applied.iter().find(|(version, _)| *version == migration.version) {
            Some((_, checksum)) if **checksum == *migration.checksum => {}
            Some((version, _)) => {
                return Err(StoreError::Version(format!("its migration {version} is not the one of this release")));
            }
            None => {
                return Err(StoreError::Unmigrated(format!(
                    "its schema is {found}, and this release needs {needed}; run `greenroom db migrate`"
                )));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrations::assert_complete;

    #[test]
    fn each_file_of_a_migration_is_listed() {
        assert_complete(&LISTED, "postgres");
    }

    fn applied() -> Vec<Applied> {
        MIGRATIONS.iter().map(|migration| (migration.version, migration.checksum.to_vec())).collect()
    }

    fn problem(applied: &[Applied]) -> String {
        match judge_schema(applied) {
            Err(StoreError::Version(text) | StoreError::Unmigrated(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_release_works_on_its_own_schema_and_on_the_next_one_only() {
        let (mut schema, newest) = (applied(), applied().len() as i64);
        assert_eq!(judge_schema(&schema).unwrap(), newest);
        schema.push((newest + 1, vec![0]));
        assert_eq!(judge_schema(&schema).unwrap(), newest + 1);
        schema.push((newest + 2, vec![0]));
        assert!(problem(&schema).contains("does not know"));
        assert!(problem(&applied()[..1]).contains("run `greenroom db migrate`"));
        assert!(problem(&[]).contains("its schema is 0"));
        let mut changed = applied();
        changed[0].1 = vec![0];
        assert!(problem(&changed).contains("migration 1"));
    }

    #[test]
    fn a_server_before_version_15_is_refused() {
        for version in [90_624, 140_022, 149_999] {
            let error = check_server(Some(version)).unwrap_err();
            let cause = error.cause();
            assert_eq!(cause.details["store"], "server_outdated");
            assert!(cause.message.contains("PostgreSQL 15 or newer"), "{cause}");
        }
        assert!(check_server(Some(140_022)).unwrap_err().to_string().contains("PostgreSQL 14"));
        for version in [Some(150_000), Some(180_001), None] {
            assert!(check_server(version).is_ok(), "{version:?}");
        }
    }

    #[test]
    fn the_functions_of_the_migrations_are_found() {
        let sql = "-- CREATE FUNCTIONs\nCREATE FUNCTION one_v1(p bigint) …;\nCREATE FUNCTION two_v1(\n    q text\n)";
        assert_eq!(created_functions(sql).collect::<Vec<_>>(), ["one_v1", "two_v1"]);
        let all: Vec<_> = MIGRATIONS.iter().flat_map(|migration| created_functions(migration.sql.as_str())).collect();
        assert!(
            all.contains(&"greenroom_commit_v2") && all.iter().all(|name| name.starts_with("greenroom_")),
            "{all:?}"
        );
    }

    #[test]
    fn a_url_that_cannot_be_read_is_rejected_without_its_password() {
        let error = parse_url("postgres://user:hunter2@host:notaport/db").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(parse_url("postgres://user:hunter2@host:5432/db?sslmode=verify-full").is_ok());
    }
}
