//! The statements of one commit with their values, executed in one transaction.
//!
//! The sums of the ledger belong to no caller, and a commit whose sums cannot be written would be followed by
//! the next one with the same sums. So a sum that the database rejects is left out and logged: it never stops
//! the commits of others.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, TransactionBehavior, params_from_iter};

pub(super) use crate::columns::{from_int, to_int};
use crate::error::StoreError;
use crate::sqlite::error::rusqlite_error;

/// A value of a column.
#[derive(Debug, Clone)]
pub(super) enum SqlValue {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<u64> for SqlValue {
    fn from(number: u64) -> Self {
        Self::Int(to_int(number))
    }
}

impl From<i64> for SqlValue {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<String> for SqlValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for SqlValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&greenroom_protocol::ContentHash> for SqlValue {
    fn from(hash: &greenroom_protocol::ContentHash) -> Self {
        Self::Blob(hash.as_bytes().to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for SqlValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A statement with its values.
type Statement = (&'static str, Vec<SqlValue>);

/// The statements of one commit, in order.
#[derive(Debug, Default)]
pub(super) struct StatementBatch {
    statements: Vec<Statement>,
    sums: Vec<Statement>,
}

impl StatementBatch {
    /// True if there is nothing to write.
    pub(super) const fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.sums.is_empty()
    }

    /// Adds a statement.
    pub(super) fn add(&mut self, sql: &'static str, values: Vec<SqlValue>) {
        self.statements.push((sql, values));
    }

    /// Adds the statement of a sum, which is executed after all others.
    pub(super) fn add_sum(&mut self, sql: &'static str, values: Vec<SqlValue>) {
        self.sums.push((sql, values));
    }

    /// Executes all statements in one transaction.
    pub(super) fn execute(&self, conn: &mut Connection) -> Result<(), StoreError> {
        let executed = match self.try_execute(conn) {
            Err(error) if is_rejected_value(&error) && !self.sums.is_empty() => self.try_execute_without_rejected(conn),
            executed => executed,
        };
        executed.map_err(|error| rusqlite_error(&error))
    }

    fn try_execute(&self, conn: &mut Connection) -> rusqlite::Result<()> {
        // Dropping the transaction without a commit rolls it back.
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for statement in self.statements.iter().chain(&self.sums) {
            execute(&transaction, statement)?;
        }
        transaction.commit()
    }

    /// As [`StatementBatch::try_execute`], without the sums that the database rejects.
    fn try_execute_without_rejected(&self, conn: &mut Connection) -> rusqlite::Result<()> {
        let mut transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for statement in &self.statements {
            execute(&transaction, statement)?;
        }
        for statement in &self.sums {
            // Dropping the savepoint without a commit rolls it back.
            let savepoint = transaction.savepoint()?;
            match execute(&savepoint, statement) {
                Ok(()) => savepoint.commit()?,
                Err(error) if is_rejected_value(&error) => {
                    let (sql, values) = statement;
                    tracing::error!(error = %error, sql, values = ?values, "a sum of the ledger was rejected and left out");
                }
                Err(error) => return Err(error),
            }
        }
        transaction.commit()
    }
}

fn execute(conn: &Connection, (sql, values): &Statement) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute(params_from_iter(values)).map(drop)
}

/// True if the database rejects a value, so that the same statement would fail again.
fn is_rejected_value(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};

    matches!(error.sqlite_error_code(), Some(ConstraintViolation | TooBig | TypeMismatch))
}

impl ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
