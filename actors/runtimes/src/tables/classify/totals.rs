//! Total and subtotal rows, and rows of means and other statistics: they repeat the rows above them, so they are
//! left out, by their label or by their arithmetic, and each of them is reported with its line.

use std::borrow::Cow;

use super::cells::text_of;
use super::figure::{Form, form_of};
use super::findings::Findings;
use crate::tables::decimal::Decimal;
use crate::tables::grid::{Cell, GridRow};
use crate::tables::note::Note;

mod labels;
mod report;
mod sums;

pub(super) use labels::Label;
use report::TotalRows;
use sums::{Sums, Values, is_statistic};

/// Rows above a row without a label, from which its sum is no coincidence.
const ROWS_ABOVE_MIN: usize = 3;
/// Totals after which the rows of another total may begin: those of the outer levels, and the newest.
const STARTS_MAX: usize = 64;
/// Rows at the end of a table among which `Max` is a statistic; elsewhere it is a name.
const EXTREMES_AT_END: usize = 10;
/// Rows for each row of means, at least: a mean describes several rows.
const STATISTIC_ROWS_MIN: usize = 3;
/// Rows of statistics that are compared with the rows above them.
const STATISTICS_MAX: usize = 20;

/// The label of each row: `None` for the rows that are certainly data.
pub(super) fn label_rows(rows: &[GridRow], findings: &mut Findings) -> Vec<Option<Label>> {
    let label_of = |cell: &Cell| match cell {
        Cell::Text(text) => labels::label_of(text),
        Cell::Empty | Cell::Number(_) | Cell::Measured(..) | Cell::Boolean(_) | Cell::Date(_) | Cell::Error(_) => None,
    };
    let is_at_end = |index: usize| index + EXTREMES_AT_END >= rows.len();
    let mut labels: Vec<Option<Label>> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| {
            let label = row.cells.iter().filter_map(label_of).max();
            label.filter(|label| *label != Label::Extreme || is_at_end(index))
        })
        .collect();
    let statistics = labels.iter().flatten().filter(|label| **label == Label::Statistic).count();
    if statistics * STATISTIC_ROWS_MIN > rows.len() && statistics > 1 {
        // As frequent as this, `Average` is a value like others.
        labels.iter_mut().filter(|label| **label == Some(Label::Statistic)).for_each(|label| *label = None);
    }
    let labelled = labels.iter().flatten().filter(|label| **label >= Label::Possible).count();
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

/// Finds the rows that are totals, reports them, and returns for each row whether it is data.
pub(super) fn find_data(
    rows: &[GridRow],
    labels: &[Option<Label>],
    keys: &Keys<'_>,
    findings: &mut Findings,
) -> Vec<bool> {
    let table = RowsOfTable { rows, labels, keys };
    let mut search = Search::run(&table, false);
    if search.has_groups {
        // The subtotals of groups with several rows show that those of groups with one row are subtotals too.
        search = Search::run(&table, true);
    }
    if let Some(last) = search.data.iter().rposition(|is_data| *is_data)
        && search.totals.labelled.is_empty()
        && let Some(row) = rows.get(last)
    {
        let is_total = check_last(&table, last, &search.data, findings);
        if is_total && let Some(entry) = search.data.get_mut(last) {
            search.totals.by_sum.push(row.line);
            *entry = false;
        }
    }
    search.totals.report(rows, findings);
    search.data
}

/// The rows with what describes them.
struct RowsOfTable<'a> {
    rows: &'a [GridRow],
    labels: &'a [Option<Label>],
    keys: &'a Keys<'a>,
}

impl RowsOfTable<'_> {
    fn values(&self, index: usize) -> Values {
        self.keys.numbers.iter().map(|column| column.get(index).copied().flatten()).collect()
    }

    /// The text of a cell; none without a value.
    fn key(&self, row: usize, column: usize) -> Option<Cow<'_, str>> {
        let text = text_of(self.rows.get(row)?.cells.get(column)?);
        (form_of(&text) != Form::NoValue).then_some(text)
    }

    /// True if the row lacks what describes the other rows: the date, or every text.
    fn is_blank(&self, row: usize) -> bool {
        let is_blank = |column: &usize| self.key(row, *column).is_none();
        self.keys.date.is_some_and(|date| is_blank(&date))
            || (!self.keys.keys.is_empty() && self.keys.keys.iter().all(is_blank))
    }

    /// True if the row lacks some of the texts that the rows of its group have, and shares the others with them.
    fn heads_group(&self, row: usize, group: &[usize]) -> bool {
        let (blank, filled): (Vec<usize>, Vec<usize>) =
            self.keys.keys.iter().copied().partition(|column| self.key(row, *column).is_none());
        let is_of_group = |member: &usize| {
            blank.iter().all(|column| self.key(*member, *column).is_some())
                && filled.iter().all(|column| self.key(*member, *column) == self.key(row, *column))
        };
        !blank.is_empty() && !filled.is_empty() && group.iter().all(is_of_group)
    }
}

/// The last row of data may be a total whose label is in a language that is not known here.
fn check_last(table: &RowsOfTable<'_>, last: usize, data: &[bool], findings: &mut Findings) -> bool {
    let keys = table.keys;
    let mut above = Sums::new(keys.numbers.len());
    for index in (0..last).filter(|index| data.get(*index) == Some(&true)) {
        above.add(&table.values(index));
    }
    let Some(row) = table.rows.get(last) else { return false };
    if above.rows < 2 || !above.equal(&table.values(last)) {
        return false;
    }
    let has_own_label = keys.keys.iter().filter(|column| Some(**column) != keys.date).any(|column| {
        let text = |row: &GridRow| row.cells.get(*column).map(|cell| text_of(cell).into_owned());
        !table.rows.iter().take(last).any(|other| text(other) == text(row))
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

/// Where the rows of a total may begin: after an earlier total, or at the first row.
struct Start {
    /// The index of the first row.
    row: usize,
    /// The sums of the rows of data before it.
    before: Sums,
}

/// The state of the search, from the first row to the last.
struct Search {
    /// The sums of the rows of data so far.
    all: Sums,
    starts: Vec<Start>,
    /// The sums of all rows without a label.
    complete: Sums,
    /// True if a group with one row may have a subtotal.
    has_single_groups: bool,
    /// True if a subtotal was recognised by its group.
    has_groups: bool,
    statistics: usize,
    data: Vec<bool>,
    totals: TotalRows,
}

impl Search {
    fn run(table: &RowsOfTable<'_>, has_single_groups: bool) -> Self {
        let columns = table.keys.numbers.len();
        let mut complete = Sums::new(columns);
        for index in (0..table.rows.len()).filter(|index| table.labels.get(*index).is_some_and(Option::is_none)) {
            complete.add(&table.values(index));
        }
        let mut search = Self {
            all: Sums::new(columns),
            starts: vec![Start { row: 0, before: Sums::new(columns) }],
            complete,
            has_single_groups,
            has_groups: false,
            statistics: 0,
            data: vec![true; table.rows.len()],
            totals: TotalRows::default(),
        };
        for (index, (row, label)) in table.rows.iter().zip(table.labels).enumerate() {
            let values = table.values(index);
            if search.check_row(table, (index, row), *label, &values) {
                if let Some(entry) = search.data.get_mut(index) {
                    *entry = false;
                }
                if search.starts.len() >= STARTS_MAX {
                    // The first half has the outer levels.
                    search.starts.remove(STARTS_MAX / 2);
                }
                search.starts.push(Start { row: index + 1, before: search.all.clone() });
            } else {
                search.all.add(&values);
            }
        }
        search
    }

    /// Decides whether a row is a total.
    fn check_row(
        &mut self,
        table: &RowsOfTable<'_>,
        (index, row): (usize, &GridRow),
        label: Option<Label>,
        values: &[Option<Decimal>],
    ) -> bool {
        let has_figures = values.iter().any(Option::is_some);
        match label {
            Some(Label::Certain) => {
                let is_sum = self.find_start(1, |sums| sums.equal_or_zero(values)).is_some();
                let agrees = !has_figures || is_sum || self.complete.equal_or_zero(values);
                if agrees { &mut self.totals.labelled } else { &mut self.totals.differing }.push(row.line);
                true
            }
            Some(Label::Possible) => {
                let is_sum = self.find_start(1, |sums| sums.equal(values)).is_some() || self.complete.equal(values);
                if is_sum { &mut self.totals.labelled } else { &mut self.totals.counted }.push(row.line);
                is_sum
            }
            Some(Label::Statistic | Label::Extreme) if has_figures && self.is_statistic(table, index, values) => {
                self.totals.statistics.push(row.line);
                true
            }
            Some(Label::Statistic) => {
                self.totals.counted.push(row.line);
                false
            }
            // `Max` may be a name, whose rows may have a subtotal like others.
            None | Some(Label::Extreme) if has_figures => {
                let is_total = self.is_unlabelled_total(table, index, values);
                if is_total {
                    self.totals.by_sum.push(row.line);
                }
                is_total
            }
            None | Some(Label::Extreme) => false,
        }
    }

    /// The newest start from which the sums of at least `rows_min` rows fulfil a condition.
    fn find_start(&self, rows_min: usize, is_match: impl Fn(&Sums) -> bool) -> Option<usize> {
        let sums = self.starts.iter().rev().map(|start| (start.row, self.all.since(&start.before)));
        sums.filter(|(_, sums)| sums.rows >= rows_min).find(|(_, sums)| is_match(sums)).map(|(row, _)| row)
    }

    fn is_unlabelled_total(&mut self, table: &RowsOfTable<'_>, index: usize, values: &[Option<Decimal>]) -> bool {
        if table.is_blank(index) {
            let others = self.complete.without(values);
            return self.find_start(2, |sums| sums.equal(values)).is_some()
                || (self.all.rows == 0 && others.rows >= 2 && others.equal(values));
        }
        let has_blank = table.keys.keys.iter().any(|column| table.key(index, *column).is_none());
        let rows_min = if self.has_single_groups { 1 } else { 2 };
        let start = if has_blank { self.find_start(rows_min, |sums| sums.equal(values)) } else { None };
        let heads_group = start.is_some_and(|start| {
            let group: Vec<usize> = (start..index).filter(|row| self.data.get(*row) == Some(&true)).collect();
            table.heads_group(index, &group)
        });
        self.has_groups |= heads_group;
        heads_group
    }

    /// True if the figures of a row are one statistic of the rows above it, or of those since the last total.
    fn is_statistic(&mut self, table: &RowsOfTable<'_>, index: usize, values: &[Option<Decimal>]) -> bool {
        self.statistics += 1;
        if self.statistics > STATISTICS_MAX {
            return false;
        }
        let last = self.starts.last().map_or(0, |start| start.row);
        [0, last].into_iter().any(|start| {
            let rows: Vec<Values> =
                (start..index).filter(|row| self.data.get(*row) == Some(&true)).map(|row| table.values(row)).collect();
            is_statistic(&rows, values)
        })
    }
}

#[cfg(test)]
mod tests;
