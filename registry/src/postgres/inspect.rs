//! Checks a database without opening it for work: its schema, whether it can be written, its identity, its audit.

use std::path::Path;

use sqlx::postgres::PgConnection;

use crate::audit::{ChainKey, ExportReport};
use crate::columns::Columns as _;
use crate::error::StoreError;
use crate::maintenance::CheckReport;
use crate::postgres::audit::verify::verify;
use crate::postgres::connection::{
    STATEMENT_TIMEOUT, applied_migrations, check_functions, check_schema, connect, in_time, judge_schema, parse_url,
};
use crate::postgres::identity::Identity;

const SELECT_STATE: &str = "SELECT (current_setting('transaction_read_only') = 'on')::integer::bigint AS read_only, \
                            pg_is_in_recovery()::integer::bigint AS is_standby, \
                            (current_setting('synchronous_commit') = 'off')::integer::bigint AS is_asynchronous, \
                            pg_database_size(current_database()) AS bytes";

/// Checks the database at this URL, with the key of the data directory if there is one. What is wrong with it is a
/// problem in the report.
pub(crate) async fn examine(url: &str, key: Option<&ChainKey>) -> Result<CheckReport, StoreError> {
    let mut connection = connect(&parse_url(url)?).await?;
    check(&mut connection, key).await
}

/// Exports the audit of the database at this URL to a new file.
pub(crate) async fn export(url: &str, to: &Path) -> Result<ExportReport, StoreError> {
    let mut connection = connect(&parse_url(url)?).await?;
    check_schema(&mut connection).await?;
    crate::postgres::audit::export::export(&mut connection, to).await
}

/// As [`examine`], on a connection.
pub(super) async fn check(connection: &mut PgConnection, key: Option<&ChainKey>) -> Result<CheckReport, StoreError> {
    let mut report = CheckReport { problems: Vec::new(), audit: None, schema: 0, bytes: 0 };
    let applied = applied_migrations(connection).await?;
    report.schema = applied.last().map_or(0, |(version, _)| *version);
    if let Err(error) = judge_schema(&applied) {
        report.problems.push(error.to_string());
        return Ok(report);
    }
    match check_functions(connection).await {
        Ok(()) => {}
        Err(error @ StoreError::Corrupt(_)) => report.problems.push(error.to_string()),
        Err(error) => return Err(error),
    }
    let row = in_time(STATEMENT_TIMEOUT, sqlx::query(SELECT_STATE).fetch_one(&mut *connection)).await?;
    report.bytes = row.number("bytes")?;
    if row.int("read_only")? != 0 || row.int("is_standby")? != 0 {
        report.problems.push(StoreError::ReadOnly.to_string());
    }
    if row.int("is_asynchronous")? != 0 {
        let problem = "its setting synchronous_commit is off, so a failure of its server loses the last commits";
        report.problems.push(problem.to_owned());
    }
    let identity = Identity::fetch(connection).await?;
    let Some(key) = key else {
        report.problems.push("its audit cannot be verified without the key `audit.key` of its pods".to_owned());
        return Ok(report);
    };
    let checked = match key.load_head() {
        Ok(saved) => identity.check(key, saved.as_ref()),
        Err(error) => Err(error),
    };
    match checked {
        Ok(()) => match verify(connection, key).await {
            Ok(audit) => report.audit = Some(audit),
            Err(error) => report.problems.push(format!("the audit cannot be read: {error}")),
        },
        Err(error) => report.problems.push(error.to_string()),
    }
    Ok(report)
}
