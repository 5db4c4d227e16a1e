//! Reads a whole database and says what is wrong with it. Nothing is written, so it works just as well
//! on a file that is too damaged, or too old, to be opened for work.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use crate::audit::signer::Signer;
use crate::audit::verify::ChainReport;
use crate::error::StoreError;
use crate::maintenance::CheckReport;
use crate::sqlite::audit::verifier;
use crate::sqlite::{BUSY_WAIT, failed};

/// Examines the file. What cannot be read is a problem that the report names.
pub(crate) async fn examine(path: &Path, signer: &Signer) -> Result<CheckReport, StoreError> {
    let bytes = tokio::fs::metadata(path).await?.len();
    let mut report = CheckReport { problems: Vec::new(), audit: None, schema: 0, bytes };
    let options =
        SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_WAIT).disable_statement_logging();
    let mut connection = match options.connect().await {
        Ok(connection) => connection,
        Err(error) => {
            report.problems.push(failed(&error).to_string());
            return Ok(report);
        }
    };
    match integrity(&mut connection).await {
        Ok(problems) => report.problems.extend(problems),
        Err(error) => report.problems.push(error.to_string()),
    }
    match schema(&mut connection).await {
        Ok(schema) => report.schema = schema,
        Err(error) => report.problems.push(format!("the version of the schema cannot be read: {error}")),
    }
    match verdict(&mut connection, signer).await {
        Ok(verdict) => report.audit = Some(verdict),
        Err(error) => report.problems.push(format!("the audit cannot be read: {error}")),
    }
    // What was read stands, whether or not the connection ends well.
    drop(connection.close().await);
    Ok(report)
}

async fn integrity(connection: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    let found: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_all(connection).await.map_err(|error| failed(&error))?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

async fn schema(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
        .fetch_one(connection)
        .await
        .map_err(|error| failed(&error))
}

async fn verdict(connection: &mut SqliteConnection, signer: &Signer) -> Result<ChainReport, StoreError> {
    let mut snapshot = connection.begin().await.map_err(|error| failed(&error))?;
    verifier(&mut snapshot, signer).await
}
