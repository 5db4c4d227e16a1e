//! The columns of a row of a reader (sqlx) and of the writer (rusqlite).

use sqlx::Row as _;

pub(super) use crate::columns::Columns;
use crate::error::StoreError;
use crate::sqlite::error::{rusqlite_error, sqlx_error};

impl Columns for sqlx::sqlite::SqliteRow {
    fn optional_text(&self, column: &str) -> Result<Option<&str>, StoreError> {
        self.try_get(column).map_err(|error| sqlx_error(&error))
    }

    fn optional_int(&self, column: &str) -> Result<Option<i64>, StoreError> {
        self.try_get(column).map_err(|error| sqlx_error(&error))
    }

    fn bytes(&self, column: &str) -> Result<&[u8], StoreError> {
        self.try_get(column).map_err(|error| sqlx_error(&error))
    }
}

impl Columns for rusqlite::Row<'_> {
    fn optional_text(&self, column: &str) -> Result<Option<&str>, StoreError> {
        let value = self.get_ref(column).map_err(|error| rusqlite_error(&error))?;
        value.as_str_or_null().map_err(|error| wrong_type(column, &error))
    }

    fn optional_int(&self, column: &str) -> Result<Option<i64>, StoreError> {
        let value = self.get_ref(column).map_err(|error| rusqlite_error(&error))?;
        value.as_i64_or_null().map_err(|error| wrong_type(column, &error))
    }

    fn bytes(&self, column: &str) -> Result<&[u8], StoreError> {
        let value = self.get_ref(column).map_err(|error| rusqlite_error(&error))?;
        value.as_blob().map_err(|error| wrong_type(column, &error))
    }
}

fn wrong_type(column: &str, error: &rusqlite::types::FromSqlError) -> StoreError {
    StoreError::Codec(format!("the column {column}: {error}"))
}

/// Reads all rows of a query on the writer's connection, decoded by `decode`.
pub(super) fn select<T>(
    conn: &rusqlite::Connection,
    sql: &str,
    values: impl rusqlite::Params,
    mut decode: impl FnMut(&rusqlite::Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = conn.prepare_cached(sql).map_err(|error| rusqlite_error(&error))?;
    let mut rows = statement.query(values).map_err(|error| rusqlite_error(&error))?;
    let mut decoded = Vec::new();
    while let Some(row) = rows.next().map_err(|error| rusqlite_error(&error))? {
        decoded.push(decode(row)?);
    }
    Ok(decoded)
}
