//! The totals that were found, and what is reported about them.

use crate::tables::classify::cells::text_of;
use crate::tables::classify::findings::Findings;
use crate::tables::grid::GridRow;
use crate::tables::note::{Note, lines, preview};

/// The totals that were found.
#[derive(Debug, Default)]
pub(super) struct TotalRows {
    /// By their label, and their figures agree.
    pub(super) labelled: Vec<u64>,
    /// By their label, and their figures do not agree.
    pub(super) differing: Vec<u64>,
    /// By their figures alone.
    pub(super) by_sum: Vec<u64>,
    /// By their label, and their figures are the mean or another statistic of the rows above them.
    pub(super) statistics: Vec<u64>,
    /// Labelled a little like a total, without figures that agree: they are counted.
    pub(super) counted: Vec<u64>,
}

impl TotalRows {
    pub(super) fn report(&self, rows: &[GridRow], findings: &mut Findings) {
        let example = |numbers: &[u64]| {
            let row = numbers.first().and_then(|line| rows.iter().find(|row| row.line == *line));
            let texts: Vec<String> =
                row.map(|row| row.cells.iter().map(|cell| text_of(cell).into_owned()).collect()).unwrap_or_default();
            preview(texts.join(" ").trim())
        };
        let note = |numbers: &[u64], message: String| {
            let note = Note::new(message);
            match numbers.first() {
                Some(line) => note.at_line(*line),
                None => note,
            }
        };
        if !self.labelled.is_empty() {
            let message = format!(
                "Total rows are left out, because they repeat the rows above them: {}, such as {}.",
                lines(&self.labelled),
                example(&self.labelled)
            );
            findings.note(note(&self.labelled, message));
        }
        if !self.differing.is_empty() {
            let message = format!(
                "Rows labelled as totals are left out, but they are not the sum of the rows above them: {}, such as {}.",
                lines(&self.differing),
                example(&self.differing)
            );
            findings.warn(note(&self.differing, message));
        }
        if !self.by_sum.is_empty() {
            let message = format!(
                "Rows without a label of a total are left out, because each of their figures is the sum of rows above them: \
                 {}, such as {}.",
                lines(&self.by_sum),
                example(&self.by_sum)
            );
            findings.warn(note(&self.by_sum, message));
        }
        if !self.statistics.is_empty() {
            let message = format!(
                "Rows of means, extremes or counts are left out, because they describe the rows above them: {}, such as {}.",
                lines(&self.statistics),
                example(&self.statistics)
            );
            findings.note(note(&self.statistics, message));
        }
        if !self.counted.is_empty() {
            let message = format!(
                "Rows whose label contains a word for a total are counted, because they are not the sum of other rows: {}, \
                 such as {}.",
                lines(&self.counted),
                example(&self.counted)
            );
            findings.warn(note(&self.counted, message));
        }
    }
}
