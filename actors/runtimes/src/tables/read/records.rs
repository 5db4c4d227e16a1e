//! Splits delimiter-separated text into records and cells. The delimiter is detected with the same parser
//! that reads the file, so both agree about quotes.

use greenroom_protocol::Cause;

use crate::tables::note::{invalid, preview};

/// One record of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The line on which it begins.
    pub(super) line: u64,
    /// Its cells, without their quotes.
    pub(super) cells: Vec<String>,
}

/// A record that cannot be split into cells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The quote of this line is never closed.
    Unclosed { line: u64 },
    /// Text follows the closing quote of a cell.
    TextAfterQuote { line: u64, cell: String },
}

impl Malformed {
    /// Creates the error.
    pub(super) fn into_cause(self) -> Cause {
        match self {
            Self::Unclosed { line } => invalid(line, "a quoted cell begins here and is never closed"),
            Self::TextAfterQuote { line, cell } => {
                let cell = preview(&cell);
                invalid(
                    line,
                    format!("text follows the closing quote of the cell {cell}; write a quote inside a cell twice"),
                )
            }
        }
    }
}

/// Splits a text into records. A cell may be in quotes, also after spaces; a quote inside it is written
/// twice. Records end with `\n`, `\r\n` or `\r`.
#[derive(Debug)]
pub(super) struct Records<'a> {
    rest: &'a str,
    delimiter: u8,
    line: u64,
    failed: bool,
}

impl<'a> Records<'a> {
    /// Creates a parser of a text that begins on this line of the file.
    pub(super) fn new(text: &'a str, delimiter: u8, line: u64) -> Self {
        Self { rest: text, delimiter, line, failed: false }
    }

    fn first(&self) -> Option<u8> {
        self.rest.bytes().next()
    }

    /// Takes the text before a position, which is a boundary of characters since an ASCII byte is there.
    fn take(&mut self, at: usize) -> &'a str {
        let (before, after) = self.rest.split_at_checked(at).unwrap_or((self.rest, ""));
        self.rest = after;
        before
    }

    fn skip_spaces(&mut self) {
        let delimiter = self.delimiter;
        let is_space = |c: char| c != char::from(delimiter) && matches!(c, ' ' | '\t' | '\u{a0}');
        self.rest = self.rest.trim_start_matches(is_space);
    }

    /// Takes an end of line, if the text continues with one.
    fn take_line_end(&mut self) -> bool {
        let bytes = self.rest.as_bytes();
        let length = match (bytes.first(), bytes.get(1)) {
            (Some(b'\r'), Some(b'\n')) => 2,
            (Some(b'\r' | b'\n'), _) => 1,
            _ => return false,
        };
        self.take(length);
        self.line += 1;
        true
    }

    fn plain_cell(&mut self) -> String {
        let delimiter = self.delimiter;
        let is_end = |byte: &u8| *byte == delimiter || matches!(*byte, b'\r' | b'\n');
        let end = self.rest.as_bytes().iter().position(is_end).unwrap_or(self.rest.len());
        self.take(end).to_owned()
    }

    /// The cell whose opening quote was just taken.
    fn quoted_cell(&mut self) -> Result<String, Malformed> {
        let opening = self.line;
        let mut cell = String::new();
        loop {
            let Some(quote) = self.rest.find('"') else { return Err(Malformed::Unclosed { line: opening }) };
            let text = self.take(quote);
            self.line += line_ends(text);
            cell.push_str(text);
            self.take(1);
            if self.first() == Some(b'"') {
                self.take(1);
                cell.push('"');
                continue;
            }
            self.skip_spaces();
            return match self.first() {
                Some(byte) if byte != self.delimiter && !matches!(byte, b'\r' | b'\n') => {
                    Err(Malformed::TextAfterQuote { line: self.line, cell })
                }
                Some(_) | None => Ok(cell),
            };
        }
    }

    fn record(&mut self) -> Result<Record, Malformed> {
        let line = self.line;
        let mut cells = Vec::new();
        loop {
            self.skip_spaces();
            cells.push(match self.first() {
                Some(b'"') => {
                    self.take(1);
                    self.quoted_cell()?
                }
                Some(_) | None => self.plain_cell(),
            });
            if self.first() == Some(self.delimiter) {
                self.take(1);
                continue;
            }
            self.take_line_end();
            return Ok(Record { line, cells });
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || self.failed {
            return None;
        }
        let record = self.record();
        self.failed = record.is_err();
        Some(record)
    }
}

/// The ends of lines in a text: `\n`, `\r\n` or `\r`.
fn line_ends(text: &str) -> u64 {
    let mut previous = 0;
    let mut count = 0;
    for byte in text.bytes() {
        count += u64::from(byte == b'\r' || (byte == b'\n' && previous != b'\r'));
        previous = byte;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::Records;

    #[test]
    fn a_text_ends_after_its_first_malformed_record() {
        let mut records = Records::new("a\n\"b", b',', 1);
        assert!(records.next().unwrap().is_ok());
        assert!(records.next().unwrap().is_err());
        assert!(records.next().is_none());
    }

    #[test]
    fn a_record_has_the_line_on_which_it_begins() {
        let lines = Records::new("a\r\n\"b\r\nc\",\"d\n\"\re", b',', 3).map(|record| record.unwrap().line);
        assert_eq!(lines.collect::<Vec<_>>(), [3, 4, 7]);
    }
}
