//! The tables in SQLite, in memory: how they are loaded, and how the rows of a statement are read.

use greenroom_protocol::{Cause, Json};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, Result, Row, Statement, params_from_iter};
use serde_json::Number;

use super::super::computation::invalid;
use super::guard::{self, Bounds};
use super::{NamedTable, TableInfo, TypedValues, problem};
use crate::tables::TypedColumn;

/// Pages of 4 KiB of all tables.
const PAGES_MAX: u32 = 64 * 1024;
/// How a statement that only reads begins.
const BEGINNINGS: [&str; 3] = ["select", "with", "values"];
/// What makes a result depend on the time of the query, in a statement without white space.
const CLOCK_WORDS: [&str; 6] = ["'now'", "date()", "time()", "datetime()", "julianday()", "unixepoch()"];

/// The rows of a statement.
pub(super) struct Selected {
    /// The names of the columns.
    pub(super) columns: Vec<String>,
    /// The rows.
    pub(super) rows: Vec<Vec<Json>>,
    /// True if there are more.
    pub(super) truncated: bool,
}

/// One value of a table.
struct SqlValue<'a>(ValueRef<'a>);

impl ToSql for SqlValue<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

/// Loads the tables.
///
/// # Errors
/// `payload_too_large` if they do not fit.
pub(super) fn open(tables: &[NamedTable]) -> std::result::Result<Connection, Cause> {
    try_open(tables).map_err(|error| problem::of_loading(&error))
}

fn try_open(tables: &[NamedTable]) -> Result<Connection> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = OFF; PRAGMA temp_store = MEMORY; PRAGMA max_page_count = {PAGES_MAX}; BEGIN"
    ))?;
    for NamedTable { name, table } in tables {
        let columns: Vec<String> = table.columns.iter().map(declaration).collect();
        connection.execute_batch(&format!("CREATE TABLE {} ({})", quoted(name), columns.join(", ")))?;
        let marks = vec!["?"; columns.len()].join(", ");
        let mut insert = connection.prepare(&format!("INSERT INTO {} VALUES ({marks})", quoted(name)))?;
        for row in 0..table.rows {
            insert_row(&mut insert, &table.columns, row)?;
        }
    }
    connection.execute_batch("COMMIT")?;
    Ok(connection)
}

fn insert_row(insert: &mut Statement<'_>, columns: &[TypedColumn], row: usize) -> Result<()> {
    let values = columns.iter().map(|column| {
        SqlValue(match &column.values {
            TypedValues::Numbers(values) => match values.get(row).copied().flatten() {
                Some(value) => number(&value.to_json()),
                None => ValueRef::Null,
            },
            TypedValues::Texts(values) => match values.get(row).and_then(Option::as_deref) {
                Some(text) => ValueRef::Text(text.as_bytes()),
                None => ValueRef::Null,
            },
        })
    });
    insert.execute(params_from_iter(values)).map(drop)
}

/// A figure as SQLite stores it: whole numbers stay whole.
fn number(value: &Json) -> ValueRef<'static> {
    match (value.as_i64(), value.as_f64()) {
        (Some(integer), _) => ValueRef::Integer(integer),
        (None, Some(real)) => ValueRef::Real(real),
        (None, None) => ValueRef::Null,
    }
}

fn declaration(column: &TypedColumn) -> String {
    let affinity = match column.values {
        TypedValues::Numbers(_) => "NUMERIC",
        TypedValues::Texts(_) => "TEXT",
    };
    format!("{} {affinity}", quoted(&column.name))
}

/// A name in double quotes.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Executes one SELECT and reads its rows.
///
/// # Errors
/// `invalid_input` for anything else and for a statement that is wrong; `payload_too_large` beyond a bound.
pub(super) fn select(
    connection: &Connection,
    sql: &str,
    bounds: Bounds,
    tables: &[TableInfo],
) -> std::result::Result<Selected, Cause> {
    check_beginning(sql)?;
    check_clock(sql)?;
    let exceeded = guard::limit_steps(connection, bounds).map_err(|error| problem::internal(&error))?;
    try_select(connection, sql, bounds)
        .map_err(|error| exceeded.cause(bounds).unwrap_or_else(|| problem::of_statement(&error, sql, tables)))
}

fn try_select(connection: &Connection, sql: &str, bounds: Bounds) -> Result<Selected> {
    let mut statement = connection.prepare(sql)?;
    if !statement.readonly() {
        return Err(Error::InvalidQuery);
    }
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut rows: Vec<Vec<Json>> = Vec::new();
    let (mut bytes_left, mut truncated) = (bounds.result_bytes, false);
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        // No row of many long values is read as a whole.
        let values = if rows.len() < bounds.rows { row_within(row, columns.len(), &mut bytes_left)? } else { None };
        let Some(values) = values else {
            truncated = true;
            break;
        };
        rows.push(values);
    }
    drop(found);
    Ok(Selected { columns, rows, truncated })
}

/// The values of a row, whose bytes as JSON are taken off those that are left; `None` if they are too few.
fn row_within(row: &Row<'_>, columns: usize, bytes_left: &mut usize) -> Result<Option<Vec<Json>>> {
    let mut values = Vec::with_capacity(columns);
    for index in 0..columns {
        let value = json_of(row.get_ref(index)?);
        let Some(left) = bytes_left.checked_sub(value.to_string().len() + 1) else { return Ok(None) };
        *bytes_left = left;
        values.push(value);
    }
    Ok(Some(values))
}

/// A value of the result. A number that JSON lacks is null.
fn json_of(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null => Json::Null,
        ValueRef::Integer(integer) => Json::from(integer),
        ValueRef::Real(real) => Number::from_f64(real).map_or(Json::Null, Json::Number),
        ValueRef::Text(text) => Json::String(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Json::String(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
    }
}

fn check_beginning(sql: &str) -> std::result::Result<(), Cause> {
    let text = without_comments(sql);
    let first: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
    if BEGINNINGS.contains(&first.to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(invalid("the statement must be one SELECT; it may begin with WITH"))
}

/// The statement without the white space and the comments before it.
fn without_comments(sql: &str) -> &str {
    let mut text = sql.trim_start();
    loop {
        let rest = match (text.strip_prefix("--"), text.strip_prefix("/*")) {
            (Some(line), _) => line.split_once('\n').map_or("", |(_, rest)| rest),
            (None, Some(block)) => block.split_once("*/").map_or("", |(_, rest)| rest),
            (None, None) => return text,
        };
        text = rest.trim_start();
    }
}

/// The same call always has the same result, so a statement does not read the clock.
fn check_clock(sql: &str) -> std::result::Result<(), Cause> {
    let dense: String = sql.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    let word = CLOCK_WORDS.iter().find(|word| dense.contains(**word)).copied();
    // With a format only, it formats the time of the query.
    let formats_clock = dense
        .split("strftime('")
        .skip(1)
        .any(|rest| rest.split_once('\'').is_some_and(|(_, after)| after.starts_with(')')));
    match word.or_else(|| formats_clock.then_some("strftime(FORMAT)")) {
        Some(word) => Err(invalid(format!("a query has no clock: write the date instead of {word}"))),
        None => Ok(()),
    }
}
