//! What one commit writes: rows grouped by table, many rows a statement, in one transaction.
//!
//! Each call into sqlx crosses to the connection's thread and back. A small commit therefore goes
//! there as one text, `BEGIN` and `COMMIT` included. Statements come in a few sizes, and one that is
//! larger than its rows is filled up with empty ones, which it leaves out: so a few prepared
//! statements serve every number of rows, and a commit has one for each table.

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe, Executor};

use crate::error::StoreError;
use crate::sqlite::failed;

/// Rows that statements have. Larger ones are hardly faster, and take longer to prepare.
const SIZES: [usize; 14] = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256];
/// Statements that still go over as one text.
const STATEMENTS_AT_ONCE_MAX: usize = 5;
/// Values that still do: each text is prepared and kept as a whole, so large ones would be many.
const VALUES_AT_ONCE_MAX: usize = 320;

/// A value of a row.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(to_int(number))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&greenroom_protocol::ContentHash> for Value {
    fn from(hash: &greenroom_protocol::ContentHash) -> Self {
        Self::Blob(hash.as_bytes().to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// SQLite's integers are signed; what would not fit stays at their end.
pub(super) fn to_int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The way back.
pub(super) fn from_int(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// How rows get into a table.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name, and its columns in brackets.
    pub(super) into: &'static str,
    /// Columns of a row.
    pub(super) columns: usize,
    /// What to do with a row that is there already.
    pub(super) conflict: &'static str,
}

#[derive(Debug)]
enum Step {
    Rows(&'static Table, Vec<Vec<Value>>),
    Plain(&'static str, Vec<Value>),
}

/// What one commit writes.
#[derive(Debug, Default)]
pub(super) struct Script {
    steps: Vec<Step>,
    /// Where the rows begin that may still be joined by others.
    segment: usize,
}

impl Script {
    /// True if there is nothing to write.
    pub(super) const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Adds a row. Rows of one table stay in order; those of different tables may change places.
    pub(super) fn row(&mut self, table: &'static Table, row: Vec<Value>) {
        let open = self.steps.iter_mut().skip(self.segment).find_map(|step| match step {
            Step::Rows(of, rows) if std::ptr::eq(*of, table) => Some(rows),
            Step::Rows(..) | Step::Plain(..) => None,
        });
        match open {
            Some(rows) => rows.push(row),
            None => self.steps.push(Step::Rows(table, vec![row])),
        }
    }

    /// Adds a statement that keeps its place between the rows.
    pub(super) fn plain(&mut self, sql: &'static str, values: Vec<Value>) {
        self.steps.push(Step::Plain(sql, values));
        self.segment = self.steps.len();
    }

    /// Writes everything, or nothing.
    pub(super) async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let statements = self.statements();
        let values: usize = statements.iter().map(|(_, values)| values.len()).sum();
        let done = if statements.len() <= STATEMENTS_AT_ONCE_MAX && values <= VALUES_AT_ONCE_MAX {
            at_once(connection, statements).await
        } else {
            one_by_one(connection, statements).await
        };
        if done.is_err() {
            // There is nothing left to roll back if it did not even begin, or a row was refused.
            let _ = connection.execute("ROLLBACK").await;
        }
        done.map_err(|error| failed(&error))
    }

    fn statements(self) -> Vec<(String, Vec<Value>)> {
        let mut statements = Vec::new();
        for step in self.steps {
            match step {
                Step::Plain(sql, values) => statements.push((sql.to_owned(), values)),
                Step::Rows(table, rows) => {
                    let mut rows = rows.into_iter().peekable();
                    while rows.peek().is_some() {
                        let size = chunk_size(rows.len());
                        let mut values = Vec::with_capacity(size * table.columns);
                        values.extend(rows.by_ref().take(size).flatten());
                        values.resize(size * table.columns, Value::Null);
                        statements.push((insert(table, size), values));
                    }
                }
            }
        }
        statements
    }
}

/// The smallest size that holds all rows, or the largest there is.
fn chunk_size(rows: usize) -> usize {
    let [.., largest] = SIZES;
    SIZES.into_iter().find(|size| *size >= rows).unwrap_or(largest)
}

/// A statement for this many rows; an empty one has nothing in its first column, which is part of the
/// key of each table.
///
/// `OR ROLLBACK`: a row that is refused ends the transaction, as it would anyway, and so SQLite does
/// not copy every page first in order to take back this statement alone.
fn insert(table: &Table, rows: usize) -> String {
    let mut tuple = "(".to_owned();
    tuple.push_str(&vec!["?"; table.columns].join(","));
    tuple.push(')');
    let Table { into, conflict, .. } = table;
    if rows == 1 {
        return format!("INSERT OR ROLLBACK INTO {into} VALUES {tuple} {conflict}");
    }
    let tuples = vec![tuple.as_str(); rows].join(",");
    format!("INSERT OR ROLLBACK INTO {into} SELECT * FROM (VALUES {tuples}) WHERE column1 IS NOT NULL {conflict}")
}

async fn at_once(connection: &mut SqliteConnection, statements: Vec<(String, Vec<Value>)>) -> Result<(), sqlx::Error> {
    let mut text = "BEGIN IMMEDIATE;".to_owned();
    let mut all = SqliteArguments::default();
    for (sql, values) in statements {
        text.push_str(&sql);
        text.push(';');
        bind(&mut all, values)?;
    }
    text.push_str("COMMIT");
    connection.execute(sqlx::query_with(AssertSqlSafe(text), all)).await?;
    Ok(())
}

async fn one_by_one(
    connection: &mut SqliteConnection,
    statements: Vec<(String, Vec<Value>)>,
) -> Result<(), sqlx::Error> {
    connection.execute("BEGIN IMMEDIATE").await?;
    for (sql, values) in statements {
        let mut arguments = SqliteArguments::default();
        bind(&mut arguments, values)?;
        connection.execute(sqlx::query_with(AssertSqlSafe(sql), arguments)).await?;
    }
    connection.execute("COMMIT").await?;
    Ok(())
}

fn bind(arguments: &mut SqliteArguments, values: Vec<Value>) -> Result<(), sqlx::Error> {
    for value in values {
        match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Int(number) => arguments.add(number),
            Value::Text(text) => arguments.add(text),
            Value::Blob(bytes) => arguments.add(bytes),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const THINGS: Table = Table { into: "things (a, b)", columns: 2, conflict: "" };

    #[test]
    fn rows_share_a_statement_that_is_filled_up_and_plain_ones_keep_their_place() {
        let mut script = Script::default();
        (0_i64..3).for_each(|number| script.row(&THINGS, vec![number.into(), "x".into()]));
        script.plain("DELETE FROM things", Vec::new());
        script.row(&THINGS, vec![9_i64.into(), "y".into()]);
        let texts: Vec<_> = script.statements().into_iter().map(|(sql, values)| (sql, values.len())).collect();
        let many = "(VALUES (?,?),(?,?),(?,?),(?,?)) WHERE column1 IS NOT NULL ";
        let expected = [
            (format!("INSERT OR ROLLBACK INTO things (a, b) SELECT * FROM {many}"), 8),
            ("DELETE FROM things".to_owned(), 0),
            ("INSERT OR ROLLBACK INTO things (a, b) VALUES (?,?) ".to_owned(), 2),
        ];
        assert_eq!(texts, expected);
    }
}
