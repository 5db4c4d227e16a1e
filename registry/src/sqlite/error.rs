//! From the errors of the two SQLite drivers to the error of the store.

use crate::error::StoreError;

/// Maps an error of the reading driver.
pub(super) fn sqlx_error(error: &sqlx::Error) -> StoreError {
    let code = match error {
        sqlx::Error::Database(database) => database.code().and_then(|code| code.parse::<u32>().ok()),
        sqlx::Error::PoolTimedOut => return StoreError::Timeout,
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => return StoreError::Closed,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => return StoreError::Codec(error.to_string()),
        _ => None,
    };
    from_result_code(code, error.to_string())
}

/// Maps an error of the writing driver.
pub(crate) fn rusqlite_error(error: &rusqlite::Error) -> StoreError {
    from_result_code(error.sqlite_error().map(|error| error.extended_code.unsigned_abs()), error.to_string())
}

/// `SQLITE_IOERR_SHMSIZE`: the index of the write-ahead log cannot grow. Its file is a few KiB and is written nowhere else, so
/// the disk is full.
const CANNOT_GROW: u32 = 4874;

/// Distinguishes the primary result codes of SQLite that an operator can act on.
fn from_result_code(code: Option<u32>, text: String) -> StoreError {
    if code == Some(CANNOT_GROW) {
        return StoreError::Full;
    }
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => StoreError::Locked,
        Some(8) => StoreError::ReadOnly,
        Some(10) => StoreError::Disk(text),
        Some(11 | 26) => StoreError::Corrupt(text),
        Some(13) => StoreError::Full,
        _ => StoreError::Failed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_of_the_log_that_cannot_grow_is_a_full_disk() {
        assert!(matches!(from_result_code(Some(4874), String::new()), StoreError::Full));
        assert!(
            matches!(from_result_code(Some(10 | 1 << 8), "read".to_owned()), StoreError::Disk(text) if text == "read")
        );
    }
}
