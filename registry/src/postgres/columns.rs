//! The columns of a row of PostgreSQL. Every integer that is read is a `bigint`.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::columns::Columns;
use crate::error::StoreError;
use crate::postgres::error::sqlx_error;

impl Columns for PgRow {
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

/// A text that is stored as UTF-8 bytes, because it may contain any character.
pub(super) fn text_of_bytes(row: &impl Columns, column: &str) -> Result<String, StoreError> {
    String::from_utf8(row.bytes(column)?.to_vec()).map_err(|error| StoreError::Codec(error.to_string()))
}
