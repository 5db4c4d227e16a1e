//! Lines of bounded length, read from a source that blocks.

use std::io::{self, BufRead};

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A line without its end.
    Complete(Vec<u8>),
    /// A line that is longer than the bound. Its content is not read into memory.
    TooLong {
        /// The bound.
        bytes_max: usize,
    },
}

/// Reads lines and passes each on, until the source ends or `pass` returns false. Blank lines are skipped; what follows the
/// last end of a line is none.
///
/// # Errors
/// Those of the source.
pub fn read_lines(mut source: impl BufRead, bytes_max: usize, mut pass: impl FnMut(Line) -> bool) -> io::Result<()> {
    let (mut line, mut is_too_long) = (Vec::new(), false);
    loop {
        let bytes = match source.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        is_too_long |= line.len().saturating_add(part.len()) > bytes_max;
        if is_too_long {
            line = Vec::new();
        } else {
            line.extend_from_slice(part);
        }
        let consumed = end.map_or(bytes.len(), |end| end + 1);
        source.consume(consumed);
        if end.is_none() {
            continue;
        }
        let complete = std::mem::take(&mut line);
        let is_passed = match std::mem::take(&mut is_too_long) {
            true => pass(Line::TooLong { bytes_max }),
            false if complete.trim_ascii().is_empty() => true,
            false => pass(Line::Complete(complete)),
        };
        if !is_passed {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(text: &[u8], bytes_max: usize, buffer: usize) -> Vec<Line> {
        let mut found = Vec::new();
        read_lines(BufReader::with_capacity(buffer, text), bytes_max, |line| {
            found.push(line);
            true
        })
        .unwrap();
        found
    }

    #[test]
    fn lines_are_bounded_whatever_the_buffers_are() {
        let text = b"one\r\n\n  \ntoolong\nfour\nrest";
        let complete = |text: &[u8]| Line::Complete(text.to_vec());
        for buffer in 1..=text.len() {
            let found = lines(text, 4, buffer);
            assert_eq!(found, [complete(b"one\r"), Line::TooLong { bytes_max: 4 }, complete(b"four")], "{buffer}");
        }
    }

    #[test]
    fn a_reader_that_has_ended_ends_the_reading() {
        let mut count = 0;
        read_lines(&b"a\nb\nc\n"[..], 10, |_| {
            count += 1;
            count < 2
        })
        .unwrap();
        assert_eq!(count, 2);
    }
}
