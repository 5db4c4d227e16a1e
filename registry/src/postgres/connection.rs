//! The connections to one PostgreSQL database, and its schema.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::columns::Columns as _;
use crate::error::StoreError;
use crate::postgres::error::{UNDEFINED_TABLE, migration_error, postgres_error, sqlx_error};

/// Connections that read.
const READERS_MAX: u32 = 4;
/// How long a reader waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The name by which the server knows the connections, unless the URL has another.
const APPLICATION: &str = "greenroom";
/// The functions of the database lock what they decide on, and read it after that, which other isolations prevent.
const ISOLATION: (&str, &str) = ("default_transaction_isolation", "read committed");

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Reads the URL of a database.
pub(super) fn parse_url(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = url.parse::<PgConnectOptions>().map_err(|error| sqlx_error(&error))?;
    let named = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name(APPLICATION),
    };
    // Statements may contain the inputs of users.
    Ok(named.options([ISOLATION]).disable_statement_logging())
}

/// Opens a connection.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(connected) => connected.map_err(|error| sqlx_error(&error)),
        Err(_) => Err(StoreError::Unreachable("its server does not reply".to_owned())),
    }
}

/// The pool of readers, which opens its connections when they are needed.
pub(super) fn open_readers(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new().max_connections(READERS_MAX).acquire_timeout(ACQUIRE_TIMEOUT).connect_lazy_with(options)
}

/// Migrates the schema to that of this release, and returns its version.
pub(super) async fn migrate(url: &str) -> Result<i64, StoreError> {
    let mut connection = connect(&parse_url(url)?).await?;
    MIGRATIONS.run(&mut connection).await.map_err(migration_error)?;
    let version = check_schema(&mut connection).await?;
    connection.close().await.map_err(|error| sqlx_error(&error))?;
    Ok(version)
}

/// An applied migration: its version and its checksum.
pub(super) type Applied = (i64, Vec<u8>);

/// Checks that this release works on the schema of a database, and returns its version.
pub(super) async fn check_schema(connection: &mut PgConnection) -> Result<i64, StoreError> {
    judge_schema(&applied_migrations(connection).await?)
}

/// The migrations of a database, the oldest first; none if it was never migrated.
pub(super) async fn applied_migrations(connection: &mut PgConnection) -> Result<Vec<Applied>, StoreError> {
    let sql = "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";
    match sqlx::query(sql).fetch_all(connection).await {
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
    fn a_url_that_cannot_be_read_is_rejected_without_its_password() {
        let error = parse_url("postgres://user:hunter2@host:notaport/db").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(parse_url("postgres://user:hunter2@host:5432/db?sslmode=verify-full").is_ok());
    }
}
