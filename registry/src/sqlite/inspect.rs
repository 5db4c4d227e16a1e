//! Checks a whole database without writing to it, so that it also works on a file that is too damaged
//! or too old to be opened for writing.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection as _};

use crate::audit::{ChainKey, ChainReport, ExportReport};
use crate::error::StoreError;
use crate::maintenance::CheckReport;
use crate::sqlite::audit::verify_chain;
use crate::sqlite::connection::BUSY_TIMEOUT;
use crate::sqlite::error::sqlx_error;

/// Verifies the audit alone.
pub(crate) async fn verify(path: &Path, key: &ChainKey) -> Result<ChainReport, StoreError> {
    let mut connection = connect(path).await?;
    let report = verify_chain(&mut connection, path, key).await?;
    // The report is complete; a failure to close the connection does not change it.
    drop(connection.close().await);
    Ok(report)
}

/// Exports the audit to a new file.
pub(crate) async fn export(path: &Path, to: &Path) -> Result<ExportReport, StoreError> {
    let mut connection = connect(path).await?;
    let report = crate::sqlite::audit::export::export(&mut connection, to).await?;
    drop(connection.close().await);
    Ok(report)
}

/// Opens a connection that cannot write.
pub(super) async fn connect(path: &Path) -> Result<SqliteConnection, StoreError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
    options.disable_statement_logging().connect().await.map_err(|error| sqlx_error(&error))
}

/// Checks the file. Content that cannot be read is a problem in the report.
pub(crate) async fn examine(path: &Path, key: &ChainKey) -> Result<CheckReport, StoreError> {
    let bytes = tokio::fs::metadata(path).await?.len();
    let mut report = CheckReport { problems: Vec::new(), audit: None, schema: 0, bytes };
    let mut connection = match connect(path).await {
        Ok(connection) => connection,
        Err(error) => {
            report.problems.push(error.to_string());
            return Ok(report);
        }
    };
    match check_integrity(&mut connection).await {
        Ok(problems) => report.problems.extend(problems),
        Err(error) => report.problems.push(error.to_string()),
    }
    match read_schema_version(&mut connection).await {
        Ok(schema) => report.schema = schema,
        Err(error) => report.problems.push(format!("the version of the schema cannot be read: {error}")),
    }
    match verify_chain(&mut connection, path, key).await {
        Ok(audit) => report.audit = Some(audit),
        Err(error) => report.problems.push(format!("the audit cannot be read: {error}")),
    }
    // The report is complete; a failure to close the connection does not change it.
    drop(connection.close().await);
    Ok(report)
}

async fn check_integrity(connection: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    let lines: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_all(connection).await.map_err(|error| sqlx_error(&error))?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

async fn read_schema_version(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await
        .map_err(|error| sqlx_error(&error))
}
