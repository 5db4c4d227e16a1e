//! What SQLite reports, in words that a model can act on: where in the statement it is, and what there is instead.

use greenroom_protocol::{Cause, ErrorCode};
use rusqlite::Error;
use rusqlite::ErrorCode as SqliteCode;

use super::super::computation::{invalid, too_large};
use super::TableInfo;

/// Columns of one table that a message lists.
const COLUMNS_LISTED_MAX: usize = 40;

/// The cause for a failure that no statement explains.
pub(super) fn internal(error: &Error) -> Cause {
    Cause::new(ErrorCode::HandlerFailed, format!("the tables cannot be loaded: {error}"))
}

/// The cause for tables that do not fit.
pub(super) fn of_loading(error: &Error) -> Cause {
    match error.sqlite_error_code() {
        Some(SqliteCode::DiskFull | SqliteCode::OutOfMemory) => {
            too_large("the tables are too large to be queried together; name fewer files, or smaller ones")
        }
        _ => internal(error),
    }
}

/// The cause for a statement that cannot be prepared or executed.
pub(super) fn of_statement(error: &Error, sql: &str, tables: &[TableInfo]) -> Cause {
    match error {
        Error::SqlInputError { msg, offset, .. } => {
            let position = usize::try_from(*offset).ok().map(|offset| position(sql, offset)).unwrap_or_default();
            invalid(format!("{}{position}{}", plain(msg), hint(msg, tables)))
        }
        Error::MultipleStatement => invalid("only one statement is executed, and this text has several"),
        Error::SqliteFailure(failure, message) => {
            let message = message.as_deref().unwrap_or("it cannot be executed");
            match failure.code {
                SqliteCode::TooBig => too_large(format!("a value of the query is too large: {message}")),
                SqliteCode::OutOfMemory => too_large("the query needs too much memory"),
                SqliteCode::AuthorizationForStatementDenied => invalid(denied(message)),
                _ => invalid(format!("{}{}", plain(message), hint(message, tables))),
            }
        }
        other => invalid(other.to_string()),
    }
}

/// The message without a full stop at its end.
fn plain(message: &str) -> &str {
    message.trim_end_matches('.')
}

/// What the authorizer has refused.
fn denied(message: &str) -> String {
    format!(
        "the statement may only SELECT from the tables, without recursion and with functions that have no effect ({})",
        plain(message)
    )
}

/// The line and the column of a byte of the statement.
fn position(sql: &str, offset: usize) -> String {
    let before = sql.get(..sql.floor_char_boundary(offset)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!(" (line {line}, column {column})")
}

/// What there is instead of a name that is unknown.
fn hint(message: &str, tables: &[TableInfo]) -> String {
    if message.starts_with("no such column") || message.starts_with("ambiguous column name") {
        return tables.iter().map(columns_of).collect();
    }
    if message.starts_with("no such table") {
        let names: Vec<String> = tables.iter().map(|table| format!("`{}`", table.name)).collect();
        return format!("; the tables are: {}", names.join(", "));
    }
    if message.starts_with("not authorized") {
        return "; the statement may only SELECT from the tables, with functions that have no effect".to_owned();
    }
    String::new()
}

fn columns_of(table: &TableInfo) -> String {
    let names: Vec<String> =
        table.columns.iter().take(COLUMNS_LISTED_MAX).map(|column| format!("\"{}\"", column.name)).collect();
    let more = match table.columns.len().saturating_sub(COLUMNS_LISTED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("; `{}` has the columns {}{more}", table.name, names.join(", "))
}
