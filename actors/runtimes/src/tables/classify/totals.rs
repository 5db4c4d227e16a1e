//! Total and subtotal rows: they repeat the rows above them, so they are left out, by their label or by their
//! arithmetic, and each of them is reported with its line.

use super::cells::text_of;
use super::figure::{Form, form_of};
use super::findings::{Findings, lines};
use crate::tables::decimal::Decimal;
use crate::tables::grid::{Cell, GridRow};
use crate::tables::note::{Note, preview};

mod labels;

pub(super) use labels::Label;

/// Rows above a row without a label, from which its sum is no coincidence.
const ROWS_ABOVE_MIN: usize = 3;

/// Relative difference up to which two sums are equal.
const EQUAL_WITHIN: f64 = 1e-9;

/// The label of each row: `None` for the rows that are certainly data.
pub(super) fn label_rows(rows: &[GridRow], findings: &mut Findings) -> Vec<Option<Label>> {
    let label_of = |cell: &Cell| match cell {
        Cell::Text(text) => labels::label_of(text),
        Cell::Empty | Cell::Number(_) | Cell::Boolean(_) | Cell::Date(_) | Cell::Error(_) => None,
    };
    let labels: Vec<Option<Label>> = rows.iter().map(|row| row.cells.iter().filter_map(label_of).max()).collect();
    let labelled = labels.iter().flatten().count();
    if labelled * 2 <= rows.len() {
        return labels;
    }
    let first = labels.iter().position(Option::is_some).and_then(|index| rows.get(index)).map_or(0, |row| row.line);
    let message = format!(
        "{labelled} of {} rows, such as line {first}, are labelled like totals. Totals are fewer than the rows that they \
         add up, so all rows are counted.",
        rows.len()
    );
    findings.warn(Note::new(message).at_line(first));
    vec![None; rows.len()]
}

/// The columns that the search for totals compares.
pub(super) struct Keys<'a> {
    /// The values of the columns whose figures add up.
    pub(super) numbers: Vec<&'a [Option<Decimal>]>,
    /// The columns that describe a row: dates and texts.
    pub(super) keys: Vec<usize>,
    /// The column that dates the rows.
    pub(super) date: Option<usize>,
}

/// Sums of each number column.
#[derive(Debug, Clone)]
struct Sums {
    totals: Vec<Decimal>,
    rows: usize,
}

impl Sums {
    fn new(columns: usize) -> Self {
        Self { totals: vec![Decimal::ZERO; columns], rows: 0 }
    }

    fn add(&mut self, values: &[Option<Decimal>]) {
        self.rows += 1;
        for (total, value) in self.totals.iter_mut().zip(values) {
            *total = value.and_then(|value| total.checked_add(value)).unwrap_or(*total);
        }
    }

    /// True if each figure of a row is the sum of its column, and one of them is not zero.
    fn equal(&self, values: &[Option<Decimal>]) -> bool {
        let mut pairs = self.totals.iter().zip(values).filter_map(|(total, value)| Some((total, (*value)?)));
        // Spreadsheets store sums as binary fractions.
        let is_equal = |(total, value): (&Decimal, Decimal)| {
            let (total, value) = (total.to_f64(), value.to_f64());
            (total - value).abs() <= total.abs() * EQUAL_WITHIN
        };
        let has_figure = values.iter().flatten().any(|value| !value.is_zero());
        self.rows > 0 && has_figure && pairs.all(is_equal)
    }
}

/// Finds the rows that are totals, reports them, and returns for each row whether it is data.
pub(super) fn find_data(
    rows: &[GridRow],
    labels: &[Option<Label>],
    keys: &Keys<'_>,
    findings: &mut Findings,
) -> Vec<bool> {
    let values_of = |index: usize| -> Vec<Option<Decimal>> {
        keys.numbers.iter().map(|column| column.get(index).copied().flatten()).collect()
    };
    let mut search = Search {
        all: Sums::new(keys.numbers.len()),
        since: Sums::new(keys.numbers.len()),
        totals: TotalRows::default(),
    };
    let complete = {
        let mut complete = Sums::new(keys.numbers.len());
        for index in (0..rows.len()).filter(|index| labels.get(*index).is_some_and(Option::is_none)) {
            complete.add(&values_of(index));
        }
        complete
    };
    let mut data = vec![true; rows.len()];
    for (index, (row, label)) in rows.iter().zip(labels).enumerate() {
        let values = values_of(index);
        let is_blank_key = is_blank_key(row, keys);
        let is_total = search.check_row(row, *label, &values, is_blank_key, &complete);
        if let Some(entry) = data.get_mut(index) {
            *entry = !is_total;
        }
    }
    if let Some(last) = data.iter().rposition(|is_data| *is_data)
        && search.totals.labelled.is_empty()
        && let Some(row) = rows.get(last)
    {
        let is_total = check_last(rows, last, &data, keys, &values_of, findings);
        if is_total && let Some(entry) = data.get_mut(last) {
            search.totals.by_sum.push(row.line);
            *entry = false;
        }
    }
    search.totals.report(rows, findings);
    data
}

/// True if the row lacks what describes the other rows: the date, or every text.
fn is_blank_key(row: &GridRow, keys: &Keys<'_>) -> bool {
    let is_blank = |column: &usize| row.cells.get(*column).is_none_or(|cell| form_of(&text_of(cell)) == Form::NoValue);
    keys.date.is_some_and(|date| is_blank(&date)) || (!keys.keys.is_empty() && keys.keys.iter().all(is_blank))
}

/// The last row of data may be a total whose label is in a language that is not known here.
fn check_last(
    rows: &[GridRow],
    last: usize,
    data: &[bool],
    keys: &Keys<'_>,
    values_of: &dyn Fn(usize) -> Vec<Option<Decimal>>,
    findings: &mut Findings,
) -> bool {
    let mut above = Sums::new(keys.numbers.len());
    for index in (0..last).filter(|index| data.get(*index) == Some(&true)) {
        above.add(&values_of(index));
    }
    let Some(row) = rows.get(last) else { return false };
    let values = values_of(last);
    if above.rows < 2 || !above.equal(&values) {
        return false;
    }
    let has_own_label = keys.keys.iter().filter(|column| Some(**column) != keys.date).any(|column| {
        let text = |row: &GridRow| row.cells.get(*column).map(|cell| text_of(cell).into_owned());
        !rows.iter().take(last).any(|other| text(other) == text(row))
    });
    if above.rows >= ROWS_ABOVE_MIN && has_own_label && keys.date.is_none() {
        return true;
    }
    let message = format!(
        "Line {} equals the sum of the rows above it. It is counted, because it does not look like a total otherwise; if it \
         is one, remove it or label it `Total`.",
        row.line
    );
    findings.warn(Note::new(message).at_line(row.line));
    false
}

/// The totals that were found.
#[derive(Debug, Default)]
struct TotalRows {
    /// By their label, and their figures agree.
    labelled: Vec<u64>,
    /// By their label, and their figures do not agree.
    differing: Vec<u64>,
    /// By their figures alone.
    by_sum: Vec<u64>,
    /// Labelled a little like a total, without figures that agree: they are counted.
    counted: Vec<u64>,
}

impl TotalRows {
    fn report(&self, rows: &[GridRow], findings: &mut Findings) {
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

/// The state of the search, from the first row to the last.
struct Search {
    /// The rows of data so far.
    all: Sums,
    /// The rows of data since the last total.
    since: Sums,
    totals: TotalRows,
}

impl Search {
    /// Decides whether a row is a total.
    fn check_row(
        &mut self,
        row: &GridRow,
        label: Option<Label>,
        values: &[Option<Decimal>],
        is_blank_key: bool,
        complete: &Sums,
    ) -> bool {
        let is_sum = self.since.equal(values) || self.all.equal(values);
        let has_figures = values.iter().any(Option::is_some);
        let is_total = match label {
            Some(Label::Certain) => {
                let agrees = !has_figures || is_sum || complete.equal(values);
                if agrees { &mut self.totals.labelled } else { &mut self.totals.differing }.push(row.line);
                true
            }
            Some(Label::Possible) if has_figures && (is_sum || complete.equal(values)) => {
                self.totals.labelled.push(row.line);
                true
            }
            Some(Label::Possible) => {
                self.totals.counted.push(row.line);
                false
            }
            None if is_blank_key && has_figures => {
                let is_certain = (self.since.rows >= 2 && self.since.equal(values))
                    || (self.all.rows >= 2 && self.all.equal(values));
                if is_certain {
                    self.totals.by_sum.push(row.line);
                }
                is_certain
            }
            None => false,
        };
        if is_total {
            self.since = Sums::new(values.len());
        } else {
            self.all.add(values);
            self.since.add(values);
        }
        is_total
    }
}

#[cfg(test)]
mod tests;
