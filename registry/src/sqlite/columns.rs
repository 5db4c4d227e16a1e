//! Reading the columns of a row, the same for a row of a reader (sqlx) and of the writer (rusqlite), so
//! that each table is decoded once.

use greenroom_protocol as protocol;
use protocol::id::IdError;
use protocol::{ContentHash, PrincipalId, Timestamp};
use sqlx::Row as _;

use crate::error::StoreError;
use crate::sqlite::error::{rusqlite_error, sqlx_error};
use crate::sqlite::statement_batch::from_int;

/// A row whose columns are read by name. Each method fails with [`StoreError::Codec`] if the column
/// has another type.
pub(super) trait Columns {
    /// A text, or none for NULL.
    fn optional_text(&self, column: &str) -> Result<Option<&str>, StoreError>;
    /// An integer, or none for NULL.
    fn optional_int(&self, column: &str) -> Result<Option<i64>, StoreError>;
    /// A blob.
    fn bytes(&self, column: &str) -> Result<&[u8], StoreError>;

    /// A text.
    fn text(&self, column: &str) -> Result<&str, StoreError> {
        self.optional_text(column)?.ok_or_else(|| unexpected_null(column))
    }

    /// An integer.
    fn int(&self, column: &str) -> Result<i64, StoreError> {
        self.optional_int(column)?.ok_or_else(|| unexpected_null(column))
    }

    /// An integer that is never negative.
    fn number(&self, column: &str) -> Result<u64, StoreError> {
        self.int(column).map(from_int)
    }

    /// A time.
    fn timestamp(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.int(column).map(Timestamp::from_micros)
    }

    /// A hash.
    fn hash(&self, column: &str) -> Result<ContentHash, StoreError> {
        let digest = self.bytes(column)?.try_into();
        digest.map(ContentHash::from_digest).map_err(|_| StoreError::Codec("a hash has 32 bytes".into()))
    }

    /// An id.
    fn id<T: std::str::FromStr<Err = IdError>>(&self, column: &str) -> Result<T, StoreError> {
        parse_id(self.text(column)?)
    }

    /// The principal of the columns `issuer`, `tenant` and `user`.
    fn principal(&self) -> Result<PrincipalId, StoreError> {
        Ok(PrincipalId { issuer: self.id("issuer")?, tenant: self.id("tenant")?, user: self.id("user")? })
    }

    /// An id, or none for NULL.
    fn optional_id<T: std::str::FromStr<Err = IdError>>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.optional_text(column)?.map(parse_id).transpose()
    }
}

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

/// Parses a stored id.
pub(super) fn parse_id<T: std::str::FromStr<Err = IdError>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error: IdError| StoreError::Codec(error.to_string()))
}

fn unexpected_null(column: &str) -> StoreError {
    StoreError::Codec(format!("the column {column} is NULL"))
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
