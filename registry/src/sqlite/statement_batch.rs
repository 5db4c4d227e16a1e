//! The statements of one commit with their values, executed in one transaction.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, TransactionBehavior, params_from_iter};

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

/// Converts to the signed integers of SQLite; a larger number becomes the largest one.
pub(super) fn to_int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Converts back; a negative number becomes zero.
pub(super) fn from_int(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The statements of one commit, in order.
#[derive(Debug, Default)]
pub(super) struct StatementBatch(Vec<(&'static str, Vec<SqlValue>)>);

impl StatementBatch {
    /// True if there is nothing to write.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a statement.
    pub(super) fn add(&mut self, sql: &'static str, values: Vec<SqlValue>) {
        self.0.push((sql, values));
    }

    /// Executes all statements in one transaction.
    pub(super) fn execute(self, conn: &mut Connection) -> Result<(), StoreError> {
        self.try_execute(conn).map_err(|error| rusqlite_error(&error))
    }

    fn try_execute(self, conn: &mut Connection) -> rusqlite::Result<()> {
        // Dropping the transaction without a commit rolls it back.
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (sql, values) in self.0 {
            transaction.prepare_cached(sql)?.execute(params_from_iter(values))?;
        }
        transaction.commit()
    }
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
