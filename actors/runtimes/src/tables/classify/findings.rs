//! What the classification of a table has to report: notes about choices that are safe, and warnings about
//! choices that a reader should check.

use crate::tables::note::Note;

/// Maximum lines that one finding lists.
const LINES_MAX: usize = 8;

/// The findings about one table.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Choices that are safe, but not the only possible ones.
    pub(crate) notes: Vec<Note>,
    /// Choices that may be wrong.
    pub(crate) warnings: Vec<Note>,
}

impl Findings {
    /// Adds a note.
    pub(crate) fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// Adds a warning.
    pub(crate) fn warn(&mut self, note: Note) {
        self.warnings.push(note);
    }
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
    use super::{count, lines};

    #[test]
    fn lines_are_listed_up_to_a_bound() {
        assert_eq!((lines(&[4]), lines(&[4, 5, 9])), ("line 4".to_owned(), "lines 4, 5 and 9".to_owned()));
        assert_eq!(lines(&(1..=10).collect::<Vec<_>>()), "lines 1, 2, 3, 4, 5, 6, 7, 8 and 2 more");
        assert_eq!((count(1, "row"), count(2, "row")), ("1 row".to_owned(), "2 rows".to_owned()));
    }
}
