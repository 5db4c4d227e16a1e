//! `native:query_table`: one SELECT over tables in files, by SQLite in memory. The tables are read as those of
//! `table_facts` are; nothing is written, no file and no clock is read by SQL, and each bound of a query ends it.
//!
//! ```text
//! files → tables (typed columns) → database (in memory) → guard (what SQL may do, and how much) → rows
//! ```

mod database;
mod guard;
mod memory;
mod problem;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use greenroom_actors::handler::{FileAccess, HandlerMode};
use greenroom_actors::tool::{Tool, ToolInput};
use greenroom_protocol::{Cause, ErrorCode, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::computation::{invalid, require_at_most, schema_of, too_large};
use crate::tables::{TypedTable, TypedValues, read_typed};

/// Maximum size of a table that is a text.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Maximum size of all files of one query.
const FILES_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Maximum tables of one query.
const TABLES_MAX: usize = 8;
/// Maximum size of the statement.
const SQL_BYTES_MAX: usize = 16 * 1024;
/// Maximum characters of the name of a table.
const NAME_CHARS_MAX: usize = 63;
/// The name of a table that has none.
const NAME_DEFAULT: &str = "data";
/// Rows of a result without a limit.
const ROWS_DEFAULT: u32 = 100;
/// Maximum rows of a result.
const ROWS_MAX: u32 = 1_000;
/// Queries that run at the same time in a pod; further ones wait.
const QUERIES_MAX: usize = 2;
/// Longest wait for one of them to end. Who waits occupies a thread.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Retry-after of a query that has waited so long.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The arguments.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    sql: String,
    #[serde(default)]
    files: Vec<NamedFile>,
    #[serde(default)]
    file: Option<Json>,
    #[serde(default)]
    table: Option<String>,
    #[serde(default)]
    sheet: Option<String>,
    #[serde(default)]
    limit: Option<u32>,
}

/// A file, and the name of its table in the statement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedFile {
    name: String,
    file: Json,
    #[serde(default)]
    sheet: Option<String>,
}

/// The result.
#[derive(Debug, Serialize, JsonSchema)]
struct QueryResult {
    /// The columns of the result.
    columns: Vec<ResultColumn>,
    /// The rows, each with one value for each column.
    rows: Vec<Vec<Json>>,
    /// The number of these rows.
    row_count: usize,
    /// True if the query has more rows than are returned.
    truncated: bool,
    /// The tables that were read.
    tables: Vec<TableInfo>,
}

/// A column of the result.
#[derive(Debug, Serialize, JsonSchema)]
struct ResultColumn {
    /// Its name.
    name: String,
    /// `integer`, `number`, `text`, `mixed`, or `null` without a value.
    kind: &'static str,
}

/// A table that was read.
#[derive(Debug, Serialize, JsonSchema)]
struct TableInfo {
    /// Its name in the statement.
    name: String,
    /// Its rows.
    rows: usize,
    /// Its columns.
    columns: Vec<ColumnInfo>,
    /// How it was read, and what may be wrong about it.
    notes: Vec<String>,
}

/// A column of a table.
#[derive(Debug, Serialize, JsonSchema)]
struct ColumnInfo {
    /// Its name.
    name: String,
    /// `date`, `number`, `unit`, `category`, `identifier` or `text`.
    kind: &'static str,
    /// The unit of its figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
}

/// A table with its name in the statement.
struct NamedTable {
    name: String,
    table: TypedTable,
}

/// The tool.
pub(crate) struct QueryTable {
    /// Bounds the memory that queries use together.
    running: Semaphore,
}

impl QueryTable {
    pub(crate) const fn new() -> Self {
        Self { running: Semaphore::const_new(QUERIES_MAX) }
    }

    /// Waits until the query may run.
    async fn acquire(&self) -> Result<SemaphorePermit<'_>, Cause> {
        match tokio::time::timeout(WAIT_MAX, self.running.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down")),
            Err(_elapsed) => {
                let message = format!(
                    "{QUERIES_MAX} queries have run for {} s, and no more run at the same time",
                    WAIT_MAX.as_secs()
                );
                Err(Cause::new(ErrorCode::Overloaded, message).with_retry_after(RETRY_AFTER))
            }
        }
    }
}

#[async_trait]
impl Tool for QueryTable {
    fn name(&self) -> &str {
        "query_table"
    }

    fn description(&self) -> &str {
        "Runs one SELECT of SQLite over tables: files (CSV, XLSX, JSON, JSON Lines) or a text. Numbers are numbers, dates \
         are texts such as 2024-12-31, totals are left out. A column whose name has a space is written in double quotes. \
         Two whole numbers divide to a whole number: multiply by 1.0 first."
    }

    fn parameters(&self) -> Json {
        let file = json!({
            "description": "The path of a file, or the reference of an artifact, unchanged",
            "anyOf": [{ "type": "string" }, { "type": "object" }]
        });
        let sheet = json!({ "type": "string", "description": "The sheet or list, if the file has several" });
        let name = json!({ "type": "string", "description": "The name of its table in the statement" });
        json!({
            "type": "object",
            "properties": {
                "sql": { "type": "string", "description": "One SELECT of SQLite; a table without a name is called data" },
                "files": {
                    "type": "array",
                    "description": "The files, each with the name of its table",
                    "items": {
                        "type": "object",
                        "properties": { "name": name, "file": file, "sheet": sheet },
                        "required": ["name", "file"],
                        "additionalProperties": false
                    }
                },
                "file": file,
                "table": { "type": "string", "description": "A table as text, with its header, instead of a file" },
                "sheet": sheet,
                "limit": { "type": "integer", "description": "Maximum rows of the result; 100 if absent, at most 1000" }
            },
            "required": ["sql"],
            "additionalProperties": false
        })
    }

    fn result(&self) -> Json {
        schema_of::<QueryResult>()
    }

    fn mode(&self) -> HandlerMode {
        HandlerMode::Blocking
    }

    async fn call(&self, input: &ToolInput, files: &FileAccess) -> Result<Json, Cause> {
        let arguments = Json::Object(input.arguments.clone().into_iter().collect());
        let arguments: Arguments = serde_json::from_value(arguments).map_err(|error| invalid(error.to_string()))?;
        if arguments.sql.len() > SQL_BYTES_MAX {
            let bytes = arguments.sql.len();
            return Err(too_large(format!("the statement has {bytes} bytes, at most {SQL_BYTES_MAX} are read")));
        }
        let rows_max = arguments.limit.unwrap_or(ROWS_DEFAULT);
        if rows_max == 0 || rows_max > ROWS_MAX {
            return Err(invalid(format!("`limit` is {rows_max}; it is a number from 1 to {ROWS_MAX}")));
        }
        let _running = self.acquire().await?;
        let tables = read_tables(&arguments, files).await?;
        let bounds = guard::Bounds { rows: rows_max as usize, ..guard::Bounds::default() };
        let result = query(&arguments.sql, tables, bounds)?;
        serde_json::to_value(result).map_err(|error| Cause::new(ErrorCode::HandlerFailed, error.to_string()))
    }
}

/// Reads the tables that the arguments name.
async fn read_tables(arguments: &Arguments, files: &FileAccess) -> Result<Vec<NamedTable>, Cause> {
    require_at_most("files", arguments.files.len(), TABLES_MAX)?;
    let single = arguments.file.as_ref().filter(|file| !file.is_null());
    if !arguments.files.is_empty() && (single.is_some() || arguments.table.is_some()) {
        return Err(invalid("name the tables by `files`, or one of them by `file` or `table`, not both"));
    }
    if let Some(text) = &arguments.table {
        if single.is_some() {
            return Err(invalid("the table is given by `file` or by `table`, not both"));
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(too_large(format!("the table has {} bytes, at most {TEXT_BYTES_MAX} are read", text.len())));
        }
        let table = read_typed(text.as_bytes(), arguments.sheet.as_deref())?;
        return Ok(vec![NamedTable { name: NAME_DEFAULT.to_owned(), table }]);
    }
    let single = single.map(|file| (NAME_DEFAULT, file, arguments.sheet.as_deref()));
    let several = arguments.files.iter().map(|named| (named.name.as_str(), &named.file, named.sheet.as_deref()));
    let mut bytes_left = FILES_BYTES_MAX;
    let mut tables: Vec<NamedTable> = Vec::new();
    for (name, file, sheet) in single.into_iter().chain(several) {
        check_name(name, &tables)?;
        let content = files.open_file(file, bytes_left).await?;
        bytes_left = bytes_left.saturating_sub(content.bytes.len() as u64);
        let table = read_typed(&content.bytes, sheet).map_err(|cause| of_table(name, cause))?;
        tables.push(NamedTable { name: name.to_owned(), table });
    }
    if tables.is_empty() {
        return Err(Cause::new(ErrorCode::MissingInput, "name a table by `files`, `file` or `table`"));
    }
    Ok(tables)
}

/// Checks that a statement can name a table, and no other table has the name.
fn check_name(name: &str, tables: &[NamedTable]) -> Result<(), Cause> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_plain = name.len() <= NAME_CHARS_MAX && name.starts_with(is_first) && name.chars().all(is_word);
    if !is_plain || name.to_ascii_lowercase().starts_with("sqlite_") {
        return Err(invalid(format!(
            "a table cannot be called {name:?}: use letters, digits and `_`, at most {NAME_CHARS_MAX}, and no digit first"
        )));
    }
    if tables.iter().any(|table| table.name.eq_ignore_ascii_case(name)) {
        return Err(invalid(format!("two tables are called `{name}`")));
    }
    Ok(())
}

/// Names the table that cannot be read.
fn of_table(name: &str, cause: Cause) -> Cause {
    Cause { message: format!("table `{name}`: {}", cause.message), ..cause }
}

/// Executes the statement over the tables, within the bounds.
fn query(sql: &str, tables: Vec<NamedTable>, bounds: guard::Bounds) -> Result<QueryResult, Cause> {
    let connection = database::open(&tables)?;
    let infos: Vec<TableInfo> = tables.into_iter().map(table_info).collect();
    guard::protect(&connection, &infos)?;
    let database::Selected { columns, rows, truncated } = database::select(&connection, sql, bounds, &infos)?;
    let columns = columns.into_iter().enumerate();
    let columns = columns.map(|(index, name)| ResultColumn { name, kind: kind_of(&rows, index) }).collect();
    Ok(QueryResult { columns, row_count: rows.len(), rows, truncated, tables: infos })
}

fn table_info(named: NamedTable) -> TableInfo {
    let NamedTable { name, table: TypedTable { columns, rows, notes } } = named;
    let columns = columns
        .into_iter()
        .map(|column| ColumnInfo { name: column.name, kind: column.kind.as_str(), unit: column.unit })
        .collect();
    TableInfo { name, rows, columns, notes: notes.into_iter().map(|note| note.message).collect() }
}

/// What the values of a column of the result are.
fn kind_of(rows: &[Vec<Json>], index: usize) -> &'static str {
    let kind = |value: &Json| match value {
        Json::Null => None,
        Json::Number(number) if number.is_i64() => Some("integer"),
        Json::Number(_) => Some("number"),
        Json::String(_) | Json::Bool(_) | Json::Array(_) | Json::Object(_) => Some("text"),
    };
    let kinds = rows.iter().filter_map(|row| kind(row.get(index)?));
    let joined = kinds.reduce(|one, other| match (one, other) {
        (one, other) if one == other => one,
        ("integer" | "number", "integer" | "number") => "number",
        _ => "mixed",
    });
    joined.unwrap_or("null")
}
