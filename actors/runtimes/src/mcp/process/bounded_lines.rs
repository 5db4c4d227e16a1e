//! A reader that ends once a line is longer than a bound. A message of a process is one line, and the reader of messages
//! collects it whole.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// The reader.
pub(in crate::mcp) struct BoundedLines<R> {
    inner: R,
    line_bytes_max: usize,
    /// Bytes of the present line.
    line_bytes: usize,
    is_exceeded: Arc<AtomicBool>,
}

impl<R> BoundedLines<R> {
    /// Reads from `inner`. Sets `is_exceeded` once a line is too long.
    pub(in crate::mcp) const fn new(inner: R, line_bytes_max: usize, is_exceeded: Arc<AtomicBool>) -> Self {
        Self { inner, line_bytes_max, line_bytes: 0, is_exceeded }
    }

    /// Counts bytes; returns false if a line is too long.
    fn count(&mut self, bytes: &[u8]) -> bool {
        let mut parts = bytes.split(|byte| *byte == b'\n');
        let first = self.line_bytes.saturating_add(parts.next().unwrap_or_default().len());
        let longest = parts.clone().map(<[u8]>::len).chain([first]).max().unwrap_or(first);
        self.line_bytes = parts.next_back().map_or(first, <[u8]>::len);
        longest <= self.line_bytes_max
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for BoundedLines<R> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        if this.count(buffer.filled().get(filled..).unwrap_or_default()) {
            return Poll::Ready(Ok(()));
        }
        this.is_exceeded.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long")))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn read(text: &[u8], line_bytes_max: usize, chunk: usize) -> (io::Result<Vec<u8>>, bool) {
        let is_exceeded = Arc::new(AtomicBool::new(false));
        let mut reader = BoundedLines::new(text, line_bytes_max, Arc::clone(&is_exceeded));
        let mut all = Vec::new();
        let mut buffer = vec![0; chunk];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => return (Ok(all), is_exceeded.load(Ordering::Relaxed)),
                Ok(bytes) => all.extend_from_slice(&buffer[..bytes]),
                Err(error) => return (Err(error), is_exceeded.load(Ordering::Relaxed)),
            }
        }
    }

    #[tokio::test]
    async fn lines_up_to_the_bound_pass_whatever_the_chunks_are() {
        let text = b"12345\n\n1234\n12345";
        for chunk in 1..=text.len() {
            assert_eq!(read(text, 5, chunk).await.0.unwrap(), text);
        }
    }

    #[tokio::test]
    async fn a_longer_line_ends_the_reader() {
        for text in [&b"123456\n"[..], b"1\n123456\n1", b"123456", b"12345\n123456"] {
            for chunk in 1..=text.len() {
                let (result, is_exceeded) = read(text, 5, chunk).await;
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
                assert!(is_exceeded);
            }
        }
    }
}
