//! What the classification of a table has to report: notes about choices that are safe, and warnings about
//! choices that a reader should check, with the lines of the cells that they are about.

use crate::tables::note::Note;

/// The findings about one table.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Choices that are safe, but not the only possible ones.
    pub(crate) notes: Vec<Note>,
    /// Choices that may be wrong.
    pub(crate) warnings: Vec<Note>,
    /// The warnings about columns that look like dates and date no rows.
    pub(crate) undated: Vec<Note>,
}

impl Findings {
    /// Adds a note.
    pub(crate) fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// Adds a warning about a column that looks like dates and dates no rows.
    pub(crate) fn warn_undated(&mut self, note: Note) {
        self.undated.push(note.clone());
        self.warnings.push(note);
    }

    /// Adds a warning.
    pub(crate) fn warn(&mut self, note: Note) {
        self.warnings.push(note);
    }
}

/// Cells of one sort: their number, and the first of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Sort {
    /// The lines, at most as many as a note lists, and one more.
    pub(super) lines: Vec<u64>,
    /// How many there are.
    pub(super) count: usize,
    /// The text of the first.
    pub(super) first: String,
}

impl Sort {
    const LINES_MAX: usize = 9;

    pub(super) fn add(&mut self, line: u64, text: &str) {
        if self.count == 0 {
            text.clone_into(&mut self.first);
        }
        if self.lines.len() < Self::LINES_MAX {
            self.lines.push(line);
        }
        self.count += 1;
    }

    /// The line of the first.
    pub(super) fn line(&self) -> u64 {
        self.lines.first().copied().unwrap_or_default()
    }
}
