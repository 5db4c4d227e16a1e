//! Reading the columns of a row, the same for the rows of every driver, so that each table is decoded once; and the
//! conversion of numbers to the signed integers of a database.

use greenroom_protocol as protocol;
use protocol::id::IdError;
use protocol::{ContentHash, PrincipalId, Timestamp};

use crate::error::StoreError;

/// A row whose columns are read by name. Each method fails with [`StoreError::Codec`] if the column
/// has another type.
pub(crate) trait Columns {
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

/// Parses a stored id.
fn parse_id<T: std::str::FromStr<Err = IdError>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error: IdError| StoreError::Codec(error.to_string()))
}

fn unexpected_null(column: &str) -> StoreError {
    StoreError::Codec(format!("the column {column} is NULL"))
}

/// Converts to a signed integer; a larger number becomes the largest one.
pub(crate) fn to_int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Converts back; a negative number becomes zero.
pub(crate) fn from_int(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
