//! The first and the last row of data, which may be totals whose labels are not known here: their figures are the sums
//! of all other rows.

use super::report::quote;
use super::sums::Sums;
use super::{Findings, Note, RowsOfTable, labels, text_of};

/// Other rows with figures from which their sum is no coincidence.
const ROWS_MIN: usize = 3;

/// Which end of the table a row is at.
#[derive(Debug, Clone, Copy)]
enum End {
    First,
    Last,
}

/// Finds the total at an end of the table; one that is doubtful is reported and counted.
pub(super) fn find_total(table: &RowsOfTable<'_>, data: &[bool], findings: &mut Findings) -> Option<usize> {
    let first = data.iter().position(|is_data| *is_data)?;
    let last = data.iter().rposition(|is_data| *is_data)?;
    [(last, End::Last), (first, End::First)].into_iter().find_map(|(row, end)| {
        let is_total = first != last && check(table, (row, end), data, findings);
        is_total.then_some(row)
    })
}

fn check(table: &RowsOfTable<'_>, (index, end): (usize, End), data: &[bool], findings: &mut Findings) -> bool {
    let keys = table.keys;
    let values = table.values(index);
    let mut others = Sums::new(keys.numbers.len());
    let mut rows_with_figures = 0;
    for other in (0..data.len()).filter(|other| *other != index && data.get(*other) == Some(&true)) {
        let values = table.values(other);
        rows_with_figures += usize::from(values.iter().flatten().any(|value| !value.is_zero()));
        others.add(&values);
    }
    let Some(row) = table.rows.get(index) else { return false };
    if rows_with_figures < 2 || !others.equal(&values) {
        return false;
    }
    let text = |index: usize, column: usize| {
        table.rows.get(index).and_then(|row| row.cells.get(column)).map(|cell| text_of(cell).into_owned())
    };
    let mut described_by = keys.keys.iter().copied().filter(|column| Some(*column) != keys.date);
    let has_own_label = described_by.clone().any(|column| {
        let own = text(index, column);
        !(0..data.len()).any(|other| other != index && text(other, column) == own)
    });
    let names_whole = described_by.any(|column| text(index, column).is_some_and(|text| labels::names_whole(&text)));
    let is_certain = rows_with_figures >= ROWS_MIN || names_whole;
    if is_certain && has_own_label && keys.date.is_none() {
        return true;
    }
    let where_from = match end {
        End::First => "below",
        End::Last => "above",
    };
    let message = format!(
        "Line {} equals the sum of the rows {where_from} it. It is counted, because {} does not look like a total otherwise; \
         if it is one, remove it or label it `Total`.",
        row.line,
        quote(row)
    );
    findings.warn(Note::new(message).at_line(row.line));
    false
}
