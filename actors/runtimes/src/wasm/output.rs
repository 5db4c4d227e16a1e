//! What a component writes to its standard output and error: the first bytes of it, which become lines of the log.
//!
//! A stream accepts any number of bytes and keeps the first ones, so that a component neither fails nor waits because it
//! prints.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Bytes of one stream that are stored.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Bytes that a component writes to a stream at once.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// Lines of one stream that are logged.
const OUTPUT_LINES_MAX: usize = 100;

/// The output of one execution.
#[derive(Debug, Clone, Default)]
pub(super) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn append(&self, bytes: &[u8]) {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = OUTPUT_BYTES_MAX.saturating_sub(stored.len());
        stored.extend(bytes.iter().take(free));
    }

    /// The first lines, with their control characters escaped.
    pub(super) fn lines(&self) -> Vec<String> {
        let stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&stored);
        let lines = text.lines().filter(|line| !line.trim().is_empty()).take(OUTPUT_LINES_MAX);
        lines.map(escape_controls).collect()
    }
}

/// The line with its control characters written as escapes, so that it can be printed.
fn escape_controls(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len());
    for character in line.chars() {
        if character.is_control() && character != '\t' {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.append(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_output_becomes_lines_without_control_characters() {
        let output = Output::default();
        output.append(b"one\n\x1b[31mred\x00\n\n\xff\xfe\ttail");
        assert_eq!(output.lines(), ["one", "\\u{1b}[31mred\\u{0}", "\u{fffd}\u{fffd}\ttail"]);
    }

    #[test]
    fn output_beyond_the_bound_is_accepted_and_not_stored() {
        let mut output = Output::default();
        for _ in 0..10_000 {
            assert_eq!(output.check_write().unwrap(), WRITE_BYTES_MAX);
            output.write(Bytes::from_static(b"0123456789\n")).unwrap();
        }
        assert_eq!(output.0.lock().unwrap().len(), OUTPUT_BYTES_MAX);
        assert_eq!(output.lines().len(), OUTPUT_LINES_MAX);
    }
}
