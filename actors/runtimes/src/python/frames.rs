//! The frames of the protocol: a length of four bytes, most significant first, and JSON. The other side is
//! `greenroom/_frames.py`.

use greenroom_protocol::strict_json;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::json_bounds::{self, VALUES_MAX};

/// Bytes of the JSON of one frame; a file of the largest size fits in it as Base64.
pub(super) const FRAME_BYTES_MAX: usize = 96 * 1024 * 1024;
/// Bytes of the length of a frame.
const LENGTH_BYTES: usize = 4;
/// Bytes that are reserved before a frame has arrived, whatever length it claims.
const RESERVED_BYTES_MAX: usize = 64 * 1024;

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The other side has closed the pipe.
    #[error("the process has ended")]
    Closed,
    /// The frame is longer than allowed.
    #[error("a frame has {0} bytes, the limit is {FRAME_BYTES_MAX}")]
    TooLarge(usize),
    /// The JSON of the frame would take too much memory.
    #[error("a frame has more than {VALUES_MAX} values")]
    TooManyValues,
    /// The frame is no message of the protocol.
    #[error("a frame cannot be read: {}", json_bounds::describe(.0))]
    Invalid(#[from] serde_json::Error),
    /// The pipe cannot be read or written.
    #[error("the pipe to the process failed: {0}")]
    Pipe(#[from] std::io::Error),
}

/// The bytes of a frame.
///
/// # Errors
/// [`FrameError::TooLarge`]; [`FrameError::Invalid`] for a value that is no JSON.
pub(super) fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut frame, message)?;
    let bytes = frame.len().saturating_sub(LENGTH_BYTES);
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= FRAME_BYTES_MAX).ok_or(FrameError::TooLarge(bytes))?;
    for (byte, value) in frame.iter_mut().zip(length.to_be_bytes()) {
        *byte = value;
    }
    Ok(frame)
}

/// Reads one frame. Memory grows with the bytes that arrive, not with the length that a frame claims.
///
/// # Errors
/// [`FrameError`]; the pipe is of no use then.
pub(super) async fn read<T: DeserializeOwned>(reader: &mut (impl AsyncRead + Unpin)) -> Result<T, FrameError> {
    let mut length = [0; LENGTH_BYTES];
    read_exact(reader, &mut length).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge(length));
    }
    let mut bytes = Vec::with_capacity(length.min(RESERVED_BYTES_MAX));
    reader.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(FrameError::Closed);
    }
    if json_bounds::has_too_many_values(&bytes) {
        return Err(FrameError::TooManyValues);
    }
    Ok(strict_json::from_slice(&bytes)?)
}

async fn read_exact(reader: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> Result<(), FrameError> {
    match reader.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(FrameError::Closed),
        Err(error) => Err(FrameError::Pipe(error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::messages::WorkerMessage;
    use super::*;

    #[tokio::test]
    async fn a_frame_survives_and_what_is_none_is_an_error() {
        let frame = encode(&json!({ "type": "call", "text": "ä" })).unwrap();
        let mut two = [frame.clone(), frame.clone()].concat();
        let mut reader = two.as_slice();
        for _ in 0..2 {
            assert_eq!(read::<Value>(&mut reader).await.unwrap()["text"], "ä");
        }
        assert!(matches!(read::<Value>(&mut reader).await, Err(FrameError::Closed)));
        two.truncate(frame.len() + 7);
        let mut reader = two.get(frame.len()..).unwrap();
        assert!(matches!(read::<Value>(&mut reader).await, Err(FrameError::Closed)), "it ends within the frame");
        let mut printed: &[u8] = b"hello, world\n";
        assert!(matches!(read::<Value>(&mut printed).await, Err(FrameError::TooLarge(_))), "text is no frame");
        let mut binary: &[u8] = &[0, 0, 0, 2, 0xff, 0xfe];
        assert!(matches!(read::<Value>(&mut binary).await, Err(FrameError::Invalid(_))));
    }

    #[tokio::test]
    async fn a_frame_with_too_many_values_is_not_parsed() {
        let mut large = Vec::new();
        large.extend_from_slice(&u32::try_from(3 * VALUES_MAX).unwrap().to_be_bytes());
        large.extend(b"[],".iter().cycle().take(3 * VALUES_MAX));
        assert!(matches!(read::<Value>(&mut large.as_slice()).await, Err(FrameError::TooManyValues)));
    }

    #[tokio::test]
    async fn what_a_frame_has_is_cut_in_the_error() {
        let frame = encode(&json!({ "type": "x".repeat(1_000_000) })).unwrap();
        let error = read::<WorkerMessage>(&mut frame.as_slice()).await.unwrap_err();
        assert!(error.to_string().len() < 1_000, "{}", error.to_string().len());
    }
}
