//! Notes: what a reader of a table must know about how it was read. An error ends the reading; a note stays
//! with the facts.

use greenroom_protocol::{Cause, ErrorCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Maximum characters of a cell in a note or an error.
const PREVIEW_CHARS_MAX: usize = 60;
/// Maximum lines that one note lists.
const LINES_MAX: usize = 8;

/// One choice that was made while a table was read, or one doubt about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The line of the file, or the row of the sheet, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The name of the column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Whole sentences, complete without the two fields above.
    pub message: String,
}

impl Note {
    /// Creates a note about the complete file.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { line: None, column: None, message: message.into() }
    }

    /// Adds the line.
    #[must_use]
    pub(crate) fn at_line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }

    /// Adds the column.
    #[must_use]
    pub(crate) fn in_column(mut self, column: impl Into<String>) -> Self {
        self.column = Some(column.into());
        self
    }
}

/// Creates the error for data that cannot be read at `line`.
pub(crate) fn invalid(line: u64, message: impl std::fmt::Display) -> Cause {
    Cause::new(ErrorCode::InvalidData, format!("line {line}: {message}")).with_details(json!({ "line": line }))
}

/// Creates the error for a file that cannot be read as a table at all.
pub(crate) fn unreadable(message: impl Into<String>) -> Cause {
    Cause::new(ErrorCode::InvalidData, message)
}

/// Formats a cell for a note or an error: short, in quotes, and on one line.
pub(crate) fn preview(cell: &str) -> String {
    let line: String = cell.chars().map(|c| if c.is_control() { ' ' } else { c }).take(PREVIEW_CHARS_MAX).collect();
    if cell.chars().count() > PREVIEW_CHARS_MAX { format!("{line:?}…") } else { format!("{line:?}") }
}

/// Formats the numbers of lines: `line 4`, `lines 4, 5 and 9`, `lines 4, 5, … and 90 more`.
pub(crate) fn lines(numbers: &[u64]) -> String {
    let texts: Vec<String> = numbers.iter().take(LINES_MAX).map(u64::to_string).collect();
    let more = numbers.len().saturating_sub(LINES_MAX);
    match texts.split_last() {
        None => "no line".to_owned(),
        Some((last, [])) => format!("line {last}"),
        Some((last, rest)) if more == 0 => format!("lines {} and {last}", rest.join(", ")),
        Some(_) => format!("lines {} and {more} more", texts.join(", ")),
    }
}

/// `1 cell`, `2 cells`
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::{count, lines, preview};

    #[test]
    fn an_error_shows_a_short_cell_on_one_line() {
        assert_eq!(preview("a\nb"), "\"a b\"");
        assert!(preview(&"x".repeat(500)).chars().count() < 70);
    }

    #[test]
    fn lines_are_listed_up_to_a_bound() {
        assert_eq!((lines(&[4]), lines(&[4, 5, 9])), ("line 4".to_owned(), "lines 4, 5 and 9".to_owned()));
        assert_eq!(lines(&(1..=10).collect::<Vec<_>>()), "lines 1, 2, 3, 4, 5, 6, 7, 8 and 2 more");
        assert_eq!((count(1, "row"), count(2, "row")), ("1 row".to_owned(), "2 rows".to_owned()));
    }
}
