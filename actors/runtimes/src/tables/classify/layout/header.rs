//! Which row names the columns. A name differs in type from the cells below it; a year, or a number of a
//! series, may be a name as well.

use std::collections::BTreeMap;

use crate::tables::classify::cells::{filled, form, used_width};
use crate::tables::classify::figure::Form;
use crate::tables::dates;
use crate::tables::decimal::Decimal;
use crate::tables::grid::{Cell, GridRow};

/// Rows among which the header is searched.
const HEADER_ROWS_MAX: usize = 50;
/// Rows below a candidate that are compared with it.
const BODY_ROWS_MAX: usize = 300;
/// Numbers that follow each other by one, from which they may be names of columns.
const SERIES_MIN: usize = 3;
/// Years that may be names of columns.
const YEARS: std::ops::RangeInclusive<i64> = 1950..=2060;

/// Where the table is in the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The index of the header, if there is one.
    pub(super) header: Option<usize>,
    /// The index of the first row of data, if there is no header.
    pub(super) data: usize,
    /// The usual number of cells of a row.
    pub(super) width: usize,
}

/// The type of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CellKind {
    Empty,
    Text,
    Figure,
    Date,
}

fn kind_of(cell: &Cell) -> CellKind {
    match (form(cell), cell) {
        (Form::NoValue | Form::SheetError, _) => CellKind::Empty,
        (Form::Figure(_) | Form::Code, _) => CellKind::Figure,
        (Form::Words, Cell::Date(_)) => CellKind::Date,
        (Form::Words, Cell::Text(text)) if dates::looks_like_date(text) => CellKind::Date,
        (Form::Words, _) => CellKind::Text,
    }
}

/// True if the cell is a text that is neither a figure nor a date.
pub(super) fn is_text(cell: &Cell) -> bool {
    kind_of(cell) == CellKind::Text
}

/// True if the cell is a figure or a date.
pub(super) fn is_value(cell: &Cell) -> bool {
    matches!(kind_of(cell), CellKind::Figure | CellKind::Date)
}

/// True if the cell is a figure.
pub(super) fn is_figure(cell: &Cell) -> bool {
    kind_of(cell) == CellKind::Figure
}

/// A whole number without any mark.
fn plain_integer(cell: &Cell) -> Option<i64> {
    let (Cell::Text(text) | Cell::Number(text)) = cell else { return None };
    let number = text.trim();
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit()) && Decimal::parse(number).is_some();
    is_plain.then(|| number.parse().ok()).flatten()
}

/// True if the cell is a year.
pub(super) fn is_year(cell: &Cell) -> bool {
    plain_integer(cell).is_some_and(|number| YEARS.contains(&number))
}

/// How often each type occurs in a column below a candidate.
#[derive(Debug, Clone, Copy, Default)]
struct ColumnProfile {
    texts: usize,
    figures: usize,
    dates: usize,
    years: usize,
}

impl ColumnProfile {
    fn count(&mut self, cell: &Cell) {
        match kind_of(cell) {
            CellKind::Empty => {}
            CellKind::Text => self.texts += 1,
            CellKind::Date => self.dates += 1,
            CellKind::Figure => {
                self.figures += 1;
                self.years += usize::from(is_year(cell));
            }
        }
    }

    /// The most frequent type.
    fn kind(&self) -> CellKind {
        let count = self.texts.max(self.figures).max(self.dates);
        match count {
            0 => CellKind::Empty,
            _ if count == self.figures => CellKind::Figure,
            _ if count == self.dates => CellKind::Date,
            _ => CellKind::Text,
        }
    }

    fn has_mostly_years(&self) -> bool {
        self.years * 2 > self.figures
    }
}

/// What a row looks like, compared with the rows below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowRole {
    /// It names columns.
    Header,
    /// It has values of the columns.
    Data,
    /// It could be either.
    Neutral,
}

fn look(row: &GridRow, body: &[&GridRow]) -> RowRole {
    let mut profiles = vec![ColumnProfile::default(); row.cells.len()];
    for below in body.iter().take(BODY_ROWS_MAX) {
        for (profile, cell) in profiles.iter_mut().zip(&below.cells) {
            profile.count(cell);
        }
    }
    let (mut names, mut values, mut numbers) = (0_usize, 0_usize, Vec::new());
    for (cell, profile) in row.cells.iter().zip(&profiles) {
        match (kind_of(cell), profile.kind()) {
            (CellKind::Figure | CellKind::Date, CellKind::Empty) if body.is_empty() => values += 1,
            (CellKind::Empty, _) | (_, CellKind::Empty) | (CellKind::Text, CellKind::Text) => {}
            (CellKind::Figure, CellKind::Figure) => numbers.push((cell, profile)),
            (CellKind::Date, CellKind::Date) => values += 1,
            // A figure above texts or dates is a value in the wrong column, or a strange name.
            (CellKind::Figure, CellKind::Text | CellKind::Date) | (CellKind::Date, CellKind::Text) => {}
            (CellKind::Text, CellKind::Figure | CellKind::Date) | (CellKind::Date, CellKind::Figure) => names += 1,
        }
    }
    if are_names(&numbers) {
        names += numbers.len();
    } else {
        values += numbers.len();
    }
    match names.cmp(&values) {
        _ if names == 0 && values == 0 => RowRole::Neutral,
        std::cmp::Ordering::Greater => RowRole::Header,
        std::cmp::Ordering::Less | std::cmp::Ordering::Equal => RowRole::Data,
    }
}

/// True if the numbers of a row, over columns of numbers, name these columns: years, or a series by one.
fn are_names(numbers: &[(&Cell, &ColumnProfile)]) -> bool {
    let Some(integers) = numbers.iter().map(|(cell, _)| plain_integer(cell)).collect::<Option<Vec<i64>>>() else {
        return false;
    };
    let (Some(first), Some(last)) = (integers.first(), integers.last()) else { return false };
    let is_ordered = integers.windows(2).all(|pair| matches!(pair, [a, b] if (a < b) == (first < last) && a != b));
    let are_years = integers.iter().all(|number| YEARS.contains(number));
    let has_other_figures = numbers.iter().all(|(_, profile)| !profile.has_mostly_years());
    let is_stepwise = integers.windows(2).all(|pair| matches!(pair, [a, b] if (b - a).abs() == 1));
    // Consecutive years name columns even of figures that look like years.
    let is_series = is_stepwise && (integers.len() >= SERIES_MIN || (integers.len() > 1 && are_years));
    is_ordered && ((are_years && has_other_figures) || is_series)
}

/// Finds the header: the fullest row that names columns, above the first row of data.
pub(super) fn find(rows: &[GridRow]) -> Position {
    let is_narrow = rows.iter().all(|row| filled(row) < 2);
    let is_row = |row: &&GridRow| is_narrow || filled(row) >= 2;
    let width = usual(rows.iter().filter(is_row).map(used_width));
    let full = usual(rows.iter().filter(is_row).map(filled));
    let mut best: Option<(usize, (bool, usize))> = None;
    for (index, row) in rows.iter().enumerate().take(HEADER_ROWS_MAX) {
        if !is_row(&row) {
            continue;
        }
        let body: Vec<&GridRow> = rows.iter().skip(index + 1).filter(is_row).take(BODY_ROWS_MAX).collect();
        let cells = filled(row);
        match look(row, &body) {
            RowRole::Data if cells >= full => break,
            RowRole::Data => {}
            RowRole::Header | RowRole::Neutral if row.cells.len() < width && cells < full => {}
            look @ (RowRole::Header | RowRole::Neutral) => {
                let is_pair = matches!(row.cells.first(), Some(Cell::Text(text)) if text.ends_with(':'));
                let rank = (look == RowRole::Header, cells);
                if !is_pair && best.is_none_or(|(_, highest)| rank > highest) {
                    best = Some((index, rank));
                }
            }
        }
    }
    let data = rows.iter().position(|row| is_row(&row)).unwrap_or(0);
    Position { header: best.map(|(index, _)| index), data, width }
}

/// The most frequent number; the largest of several.
fn usual(numbers: impl Iterator<Item = usize>) -> usize {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for number in numbers {
        *counts.entry(number).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(number, count)| (*count, *number)).map_or(0, |(number, _)| number)
}
