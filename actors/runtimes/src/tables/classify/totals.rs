//! Total and subtotal rows, and rows of means and other statistics: they repeat the rows above them, so they are
//! left out, by their label or by their arithmetic, and each of them is reported with its line.

use std::borrow::Cow;

use super::cells::text_of;
use super::figure::{Form, form_of};
use super::findings::Findings;
use crate::tables::decimal::Decimal;
use crate::tables::grid::{Cell, GridRow};
use crate::tables::note::{Note, lines};

mod ends;
mod labels;
mod report;
mod sums;

pub(super) use labels::Label;
use report::TotalRows;
use sums::{Statistic, Sums, Values, is_statistic};

/// Totals after which the rows of another total may begin: those of the outer levels, and the newest.
const STARTS_MAX: usize = 64;
/// Rows at the end of a table among which `Max` is a statistic; elsewhere it is a name.
const EXTREMES_AT_END: usize = 10;
/// Rows that a row of means describes, at least.
const DESCRIBED_ROWS_MIN: usize = 2;
/// Newest totals after which the rows that a row of means describes may begin.
const STATISTIC_STARTS_MAX: usize = 4;
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
    // Rows of data with nothing but labels below them leave no doubt.
    let unlabelled = labels.iter().take_while(|label| label.is_none()).count();
    if unlabelled >= DESCRIBED_ROWS_MIN && labels.iter().skip(unlabelled).all(Option::is_some) {
        return labels;
    }
    return_statistics(rows, &mut labels, findings);
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

/// Takes the labels of means from the rows of a table where they are as frequent as values.
fn return_statistics(rows: &[GridRow], labels: &mut [Option<Label>], findings: &mut Findings) {
    let unlabelled = labels.iter().filter(|label| label.is_none()).count();
    let statistics = labels.iter().filter(|label| **label == Some(Label::Statistic)).count();
    if unlabelled >= DESCRIBED_ROWS_MIN && statistics * 2 <= rows.len() {
        return;
    }
    let mut returned = Vec::new();
    for (label, row) in labels.iter_mut().zip(rows).filter(|(label, _)| **label == Some(Label::Statistic)) {
        *label = None;
        returned.push(row.line);
    }
    returned.dedup();
    if let Some(first) = returned.first() {
        let message = format!(
            "Rows labelled as means are counted, because means are fewer than the rows that they describe: {}.",
            lines(&returned)
        );
        findings.warn(Note::new(message).at_line(*first));
    }
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
    if search.totals.labelled.is_empty()
        && let Some(total) = ends::find_total(&table, &search.data, findings)
        && let Some(entry) = search.data.get_mut(total)
    {
        *entry = false;
        search.totals.by_sum.push(total);
        search.totals.by_sum.sort_unstable();
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

    /// The statistics that the texts of a row name.
    fn statistics(&self, row: usize) -> Vec<Statistic> {
        let cells = self.rows.get(row).map_or(&[][..], |row| &row.cells);
        cells.iter().filter_map(|cell| labels::statistic_of(&text_of(cell))).collect()
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
    /// The first of the rows at the end of the table that all have labels.
    labelled_end: usize,
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
            labelled_end: table.labels.iter().rposition(Option::is_none).map_or(0, |last| last + 1),
            data: vec![true; table.rows.len()],
            totals: TotalRows::default(),
        };
        for (index, label) in table.labels.iter().enumerate() {
            let values = table.values(index);
            if search.check_row(table, index, *label, &values) {
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
        index: usize,
        label: Option<Label>,
        values: &[Option<Decimal>],
    ) -> bool {
        let has_figures = values.iter().any(Option::is_some);
        match label {
            Some(Label::Certain) => {
                let is_sum = self.find_start(1, |sums| sums.equal_or_zero(values)).is_some();
                let agrees = !has_figures || is_sum || self.complete.equal_or_zero(values);
                if agrees { &mut self.totals.labelled } else { &mut self.totals.differing }.push(index);
                true
            }
            Some(Label::Possible) => {
                let is_sum = self.find_start(1, |sums| sums.equal(values)).is_some() || self.complete.equal(values);
                // `Total incl. VAT` below `Total`, at the end of a table, is another total and no row of data.
                let continues_totals = index >= self.labelled_end
                    && index.checked_sub(1).is_some_and(|above| self.data.get(above) == Some(&false));
                let (list, is_total) = match (is_sum, continues_totals) {
                    (true, _) => (&mut self.totals.labelled, true),
                    (false, true) => (&mut self.totals.differing, true),
                    (false, false) => (&mut self.totals.counted, false),
                };
                list.push(index);
                is_total
            }
            Some(Label::Statistic | Label::Extreme) if has_figures && self.is_statistic(table, index, values) => {
                self.totals.statistics.push(index);
                true
            }
            Some(Label::Statistic) => {
                self.totals.counted_statistics.push(index);
                false
            }
            // `Max` may be a name, whose rows may have a subtotal like others.
            None | Some(Label::Extreme) if has_figures => {
                let is_total = self.is_unlabelled_total(table, index, values);
                if is_total {
                    self.totals.by_sum.push(index);
                } else if label.is_some() && index >= self.labelled_end {
                    self.totals.counted_statistics.push(index);
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

    /// True if the figures of a row are the statistic of its label: of the rows above it or of those since one of
    /// the last totals; above all data, of all rows without a label.
    fn is_statistic(&mut self, table: &RowsOfTable<'_>, index: usize, values: &[Option<Decimal>]) -> bool {
        self.statistics += 1;
        if self.statistics > STATISTICS_MAX {
            return false;
        }
        let statistics = table.statistics(index);
        let is_described = |rows: Vec<Values>| statistics.iter().any(|one| is_statistic(*one, &rows, values));
        let newest = self.starts.iter().rev().take(STATISTIC_STARTS_MAX).map(|start| start.row);
        let mut starts: Vec<usize> = std::iter::once(0).chain(newest).collect();
        starts.sort_unstable();
        starts.dedup();
        // A row that is labelled as a statistic and is none describes nothing, and is not described either.
        let is_described_row = |row: &usize| match table.labels.get(*row).copied().flatten() {
            Some(Label::Statistic) => false,
            Some(Label::Extreme) => *row < self.labelled_end,
            Some(Label::Possible | Label::Certain) | None => true,
        };
        let is_data = |row: &usize| self.data.get(*row) == Some(&true) && is_described_row(row);
        let is_unlabelled = |row: &usize| table.labels.get(*row).is_some_and(Option::is_none);
        starts
            .into_iter()
            .any(|start| is_described((start..index).filter(is_data).map(|row| table.values(row)).collect()))
            || self.all.rows == 0
                && is_described((0..table.rows.len()).filter(is_unlabelled).map(|row| table.values(row)).collect())
    }
}

#[cfg(test)]
mod tests;
