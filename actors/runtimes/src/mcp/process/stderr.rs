//! What the process of a server writes to standard error, as lines of the log: short ones, and not many.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use crate::outbound::credentials::Redaction;

/// Bytes of a line; what follows is not logged.
const LINE_BYTES_MAX: usize = 1024;
/// Lines within one window; further ones are counted.
const LINES_MAX: u32 = 60;
/// The window.
const WINDOW: Duration = Duration::from_secs(60);
/// Bytes of one read.
const READ_BYTES: usize = 4 * 1024;

/// Divides bytes into lines, and cuts long ones.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    /// Adds bytes; returns the lines that they complete.
    fn add(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => complete.extend(self.take()),
                byte if self.line.len() < LINE_BYTES_MAX => self.line.push(*byte),
                _ => {}
            }
        }
        complete
    }

    /// The present line, unless it is blank. Bytes that are no text are replaced.
    fn take(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let plain: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        (!plain.is_empty()).then_some(plain)
    }
}

/// Logs the lines until the end, without secrets. Everything is read, whether or not it is logged, so that the process does
/// not wait.
pub(in crate::mcp) async fn log_lines(server: &str, mut stderr: impl AsyncRead + Unpin, redaction: &Redaction) {
    let (mut lines, mut buffer) = (Lines::default(), vec![0; READ_BYTES]);
    let (mut window, mut logged, mut omitted) = (Instant::now(), 0_u32, 0_u64);
    loop {
        let bytes = stderr.read(&mut buffer).await.unwrap_or_default();
        let complete: Vec<String> = match bytes {
            0 => lines.take().into_iter().collect(),
            bytes => lines.add(buffer.get(..bytes).unwrap_or_default()),
        };
        if window.elapsed() > WINDOW {
            if omitted > 0 {
                tracing::warn!(server.name = server, lines.omitted = omitted, "an MCP server writes too many lines");
            }
            (window, logged, omitted) = (Instant::now(), 0, 0);
        }
        for line in complete {
            if logged < LINES_MAX {
                logged += 1;
                let line = redaction.hide(&line);
                tracing::info!(server.name = server, server.line = line, "an MCP server has written a line");
            } else {
                omitted += 1;
            }
        }
        if bytes == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_what_is_no_text_is_replaced() {
        let mut lines = Lines::default();
        assert_eq!(lines.add(b"one\n\n  \ntw"), ["one"]);
        assert_eq!(lines.add(b"o\x1b[31m\xff\n"), ["two [31m\u{fffd}"]);
        assert!(lines.add(&vec![b'x'; 100_000]).is_empty());
        assert_eq!(lines.line.len(), LINE_BYTES_MAX);
        assert_eq!(lines.add(b"\nlast").len(), 1);
        assert_eq!(lines.take().unwrap(), "last");
        assert_eq!(lines.take(), None);
    }

    #[tokio::test]
    async fn a_process_that_writes_without_end_is_read_to_its_end() {
        let noise = vec![b'\n'; 3 * READ_BYTES + 1];
        log_lines("noisy", &noise[..], &Redaction::default()).await;
    }
}
