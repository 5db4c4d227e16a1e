//! The totals that were found, and what is reported about them.

use crate::tables::classify::cells::text_of;
use crate::tables::classify::findings::Findings;
use crate::tables::grid::GridRow;
use crate::tables::note::{Note, lines, preview};

/// The totals that were found, as indexes of rows: several rows of a file may be on one line.
#[derive(Debug, Default)]
pub(super) struct TotalRows {
    /// By their label, and their figures agree.
    pub(super) labelled: Vec<usize>,
    /// By their label, and their figures do not agree.
    pub(super) differing: Vec<usize>,
    /// By their figures alone.
    pub(super) by_sum: Vec<usize>,
    /// By their label, and their figures are the mean or another statistic of other rows.
    pub(super) statistics: Vec<usize>,
    /// Labelled a little like a total, without figures that agree: they are counted.
    pub(super) counted: Vec<usize>,
    /// Labelled as a statistic, without figures that agree: they are counted.
    pub(super) counted_statistics: Vec<usize>,
}

/// The texts of a row, for a note.
pub(super) fn quote(row: &GridRow) -> String {
    let texts: Vec<_> = row.cells.iter().map(text_of).collect();
    preview(texts.join(" ").trim())
}

/// The lines of rows, each of them once.
fn lines_of(rows: &[GridRow], indexes: &[usize]) -> Vec<u64> {
    let mut all: Vec<u64> = indexes.iter().filter_map(|index| rows.get(*index)).map(|row| row.line).collect();
    all.dedup();
    all
}

impl TotalRows {
    pub(super) fn report(&self, rows: &[GridRow], findings: &mut Findings) {
        // The lines of the rows, with the first of them.
        let stated = |indexes: &[usize]| {
            let first = indexes.first().and_then(|index| rows.get(*index)).map(quote).unwrap_or_default();
            format!("{}, such as {first}.", lines(&lines_of(rows, indexes)))
        };
        let note = |indexes: &[usize], message: &str| {
            let note = Note::new(format!("{message}: {}", stated(indexes)));
            match indexes.first().and_then(|index| rows.get(*index)) {
                Some(row) => note.at_line(row.line),
                None => note,
            }
        };
        let warnings = [
            (&self.differing, "Rows labelled as totals are left out, but they are not the sum of the rows above them"),
            (
                &self.by_sum,
                "Rows without a label of a total are left out, because each of their figures is the sum of other rows",
            ),
            (
                &self.counted,
                "Rows whose label contains a word for a total are counted, because they are not the sum of other rows",
            ),
            (
                &self.counted_statistics,
                "Rows labelled as means, extremes or counts are counted, since their figures are not those of other rows",
            ),
        ];
        let notes = [
            (&self.labelled, "Total rows are left out, because they repeat the rows above them"),
            (
                &self.statistics,
                "Rows of means, extremes or counts are left out, because they describe the rows above them",
            ),
        ];
        for (indexes, message) in warnings.into_iter().filter(|(indexes, _)| !indexes.is_empty()) {
            findings.warn(note(indexes, message));
        }
        for (indexes, message) in notes.into_iter().filter(|(indexes, _)| !indexes.is_empty()) {
            findings.note(note(indexes, message));
        }
    }
}
