//! What an input is read from: a file or standard input, in chunks and up to a bound. A device and a pipe have no
//! size, so the bound is on what is read, not on what the file system says.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;

use bytes::Bytes;
use futures::{StreamExt, stream};
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::artifacts::ArtifactSource;
use greenroom_runtimes::files::media_type;

use crate::ingress::frame::FILE_BYTES_MAX;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 256 * 1024;

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

    /// Opens it, and reads up to `text_bytes_max` bytes, or finds that there are more.
    ///
    /// # Errors
    /// [`ErrorCode::PathNotAllowed`] if it cannot be read.
    pub(super) async fn open(self, text_bytes_max: usize) -> Result<OpenFile, Cause> {
        let name = self.to_string();
        let first_bytes = text_bytes_max.saturating_add(1);
        let (first, reader) = read_on_thread(&name, move || {
            let mut reader: Reader = match self {
                Self::File(path) => Box::new(std::fs::File::open(path)?),
                Self::StandardInput => Box::new(io::stdin()),
            };
            Ok((read_chunk(&mut reader, first_bytes)?, reader))
        })
        .await?;
        let is_short = first.len() < first_bytes;
        Ok(OpenFile { name, first, is_short, reader })
    }
}

type Reader = Box<dyn Read + Send>;

/// A file whose first bytes are read.
pub(super) struct OpenFile {
    name: String,
    first: Vec<u8>,
    /// True if there are no other bytes.
    is_short: bool,
    reader: Reader,
}

impl OpenFile {
    /// The content, if it is short and text.
    pub(super) fn into_text(self) -> Result<String, Self> {
        if !self.is_short {
            return Err(self);
        }
        let Self { name, first, is_short, reader } = self;
        String::from_utf8(first).map_err(|error| Self { name, first: error.into_bytes(), is_short, reader })
    }

    /// The content in chunks. They end with [`ErrorCode::PayloadTooLarge`] above [`FILE_BYTES_MAX`].
    pub(super) fn into_chunks(self) -> ArtifactSource<'static> {
        let Self { name, first, reader, .. } = self;
        let bytes_read = first.len() as u64;
        let rest = stream::try_unfold(OpenReader { name, reader, bytes_read }, OpenReader::next);
        stream::iter([Ok(Bytes::from(first))]).chain(rest).boxed()
    }
}

struct OpenReader {
    name: String,
    reader: Reader,
    bytes_read: u64,
}

impl OpenReader {
    async fn next(self) -> Result<Option<(Bytes, Self)>, Cause> {
        let Self { name, mut reader, bytes_read } = self;
        let (chunk, reader) = read_on_thread(&name, move || Ok((read_available(&mut reader)?, reader))).await?;
        let bytes_read = bytes_read.saturating_add(chunk.len() as u64);
        if bytes_read > FILE_BYTES_MAX {
            let message = format!("{name} has more than {FILE_BYTES_MAX} bytes, which is the limit");
            return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
        }
        let is_end = chunk.is_empty();
        Ok((!is_end).then(|| (chunk.into(), Self { name, reader, bytes_read })))
    }
}

/// Reads on a thread that may block, so that a signal ends the command meanwhile.
async fn read_on_thread<T: Send + 'static>(
    name: &str,
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Cause> {
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Err(Cause::new(ErrorCode::PathNotAllowed, format!("{name} cannot be read: {error}"))),
        Err(error) => Err(Cause::new(ErrorCode::Internal, format!("{name} cannot be read: {error}"))),
    }
}

/// Reads what a pipe has at present, or a part of a file; nothing at the end.
fn read_available(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let length = loop {
        match source.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    chunk.truncate(length);
    Ok(chunk)
}

/// Reads this many bytes, or fewer at the end.
fn read_chunk(source: &mut impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::new();
    source.by_ref().take(bytes_max as u64).read_to_end(&mut chunk)?;
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    async fn open(content: impl Read + Send + 'static, text_bytes_max: usize) -> OpenFile {
        let mut reader: Reader = Box::new(content);
        let first = read_chunk(&mut reader, text_bytes_max + 1).unwrap();
        let is_short = first.len() <= text_bytes_max;
        OpenFile { name: "it".to_owned(), first, is_short, reader }
    }

    #[tokio::test]
    async fn a_short_text_is_read_at_once_and_other_content_in_chunks() {
        assert_eq!(open(&b"abc"[..], 3).await.into_text().ok().unwrap(), "abc");
        let content: Vec<u8> = (0..CHUNK_BYTES * 2 + 5).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
        let file = open(io::Cursor::new(content.clone()), 3).await.into_text().err().unwrap();
        let chunks: Vec<Bytes> = file.into_chunks().try_collect().await.unwrap();
        assert!(chunks.len() > 2 && chunks.concat() == content);
        let binary = open(&b"\xff\xfe"[..], 3).await.into_text().err().unwrap();
        let chunks: Vec<Bytes> = binary.into_chunks().try_collect().await.unwrap();
        assert_eq!(chunks.concat(), [0xff, 0xfe]);
    }

    #[tokio::test]
    async fn an_endless_source_is_read_up_to_its_bound() {
        let file = open(io::repeat(0), 3).await.into_text().err().unwrap();
        let mut bytes = 0;
        let error = file.into_chunks().try_for_each(|chunk| {
            bytes += chunk.len() as u64;
            futures::future::ready(Ok(()))
        });
        assert_eq!(error.await.unwrap_err().code, ErrorCode::PayloadTooLarge);
        assert!(bytes <= FILE_BYTES_MAX);
    }
}
