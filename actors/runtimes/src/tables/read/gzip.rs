//! Decompresses gzip, within a bound.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use greenroom_protocol::Cause;

use super::INFLATED_BYTES_MAX;
use crate::tables::{grid, note};

/// True if the bytes are a gzip file.
pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Decompresses all members of the file.
///
/// # Errors
/// `invalid_data` if the file is damaged; `payload_too_large` beyond [`INFLATED_BYTES_MAX`].
pub(super) fn inflate(bytes: &[u8]) -> Result<Vec<u8>, Cause> {
    let mut content = Vec::new();
    let mut reader = MultiGzDecoder::new(bytes).take(INFLATED_BYTES_MAX + 1);
    reader
        .read_to_end(&mut content)
        .map_err(|error| note::unreadable(format!("the gzip file is damaged or not complete: {error}")))?;
    if content.len() as u64 > INFLATED_BYTES_MAX {
        let message =
            format!("the gzip file expands to more than {INFLATED_BYTES_MAX} bytes, the maximum that is read");
        return Err(grid::too_large(message));
    }
    Ok(content)
}
