//! What an input is read from: a file or standard input, up to a bound. A device and a pipe have no size, so
//! the bound is on what is read, not on what the file system says.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;

use greenroom_protocol::{Cause, ErrorCode};
use greenroom_runtimes::files::media_type;

use crate::ingress::frame::FILE_BYTES_MAX;

/// Where the bytes of an input come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileSource {
    /// A file, a device or a named pipe.
    File(PathBuf),
    /// Standard input.
    StandardInput,
}

impl fmt::Display for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::StandardInput => f.write_str("standard input"),
        }
    }
}

impl FileSource {
    /// The name under which its bytes are stored.
    pub(super) fn name(&self) -> String {
        let name = match self {
            Self::File(path) => path.file_name(),
            Self::StandardInput => None,
        };
        name.map_or_else(|| "input".into(), |name| name.to_string_lossy().into_owned())
    }

    /// The media type of its name.
    pub(super) fn media_type(&self) -> &'static str {
        match self {
            Self::File(path) => media_type(&path.to_string_lossy()),
            Self::StandardInput => "application/octet-stream",
        }
    }

    /// Reads everything, on a thread that may block, so that a signal ends the command meanwhile.
    ///
    /// # Errors
    /// [`ErrorCode::PathNotAllowed`] if it cannot be read; [`ErrorCode::PayloadTooLarge`].
    pub(super) async fn read(self) -> Result<Vec<u8>, Cause> {
        let source_name = self.to_string();
        let read = tokio::task::spawn_blocking(move || match self {
            Self::File(path) => read_bounded(std::fs::File::open(path)?, FILE_BYTES_MAX),
            Self::StandardInput => read_bounded(io::stdin().lock(), FILE_BYTES_MAX),
        });
        match read.await {
            Ok(Ok(Some(bytes))) => Ok(bytes),
            Ok(Ok(None)) => {
                let message = format!("{source_name} has more than {FILE_BYTES_MAX} bytes, which is the limit");
                Err(Cause::new(ErrorCode::PayloadTooLarge, message))
            }
            Ok(Err(error)) => {
                Err(Cause::new(ErrorCode::PathNotAllowed, format!("{source_name} cannot be read: {error}")))
            }
            Err(error) => Err(Cause::new(ErrorCode::Internal, format!("{source_name} cannot be read: {error}"))),
        }
    }
}

/// Reads to the end; `None` if there are more bytes than the limit.
fn read_bounded(source: impl Read, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    source.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= bytes_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_source_is_read_up_to_its_bound() {
        assert_eq!(read_bounded(io::repeat(0), 1_000).unwrap(), None);
        assert_eq!(read_bounded(&b"abc"[..], 3).unwrap(), Some(b"abc".to_vec()));
        assert_eq!(read_bounded(&b"abcd"[..], 3).unwrap(), None);
    }
}
