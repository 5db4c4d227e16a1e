//! Which row names the columns. A name differs in type from the cells below it; a year, a month, or a number of
//! a series may be a name as well.

use std::collections::BTreeMap;

use crate::tables::classify::cells::{filled, text_of, used_width};
use crate::tables::grid::{Cell, GridRow};
use number_names::NumberRole;
use profile::{CellKind, ColumnProfile, kind_of};

mod number_names;
mod period;
mod profile;
mod titles;

/// Rows among which the header is searched.
const HEADER_ROWS_MAX: usize = 50;
/// Rows below a candidate that are compared with it.
const BODY_ROWS_MAX: usize = 300;

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

/// True if the cell is a year or a month that is written as a number.
pub(super) fn is_period(cell: &Cell) -> bool {
    period::is_period(cell)
}

/// What a row looks like, compared with the rows below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowRole {
    /// It names columns.
    Header {
        /// True if a row of numbers that follow each other is data below it, and no better header.
        is_firm: bool,
        /// True if nothing but numbers that follow each other says that it is a header.
        is_series: bool,
    },
    /// It has values of the columns.
    Data,
    /// It could be either.
    Neutral,
}

fn look(row: &GridRow, body: &[&GridRow], width: usize) -> RowRole {
    let profiles = ColumnProfile::of_columns(row.cells.len(), body);
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
    let has_label = !numbers.is_empty() && (names > 0 || has_label(row, body, &profiles));
    let role = number_names::role_of(&numbers, has_label);
    let (is_firm, is_series) = (names > 1 || filled(row) * 2 > width, names == 0 && role == NumberRole::Series);
    match role {
        NumberRole::Periods | NumberRole::Series => names += numbers.len(),
        NumberRole::Figures => values += numbers.len(),
    }
    match names.cmp(&values) {
        _ if names == 0 && values == 0 => RowRole::Neutral,
        std::cmp::Ordering::Greater => RowRole::Header { is_firm: is_firm && !is_series, is_series },
        std::cmp::Ordering::Less | std::cmp::Ordering::Equal => RowRole::Data,
    }
}

/// True if a cell of the row is a name, as far as texts below it can tell: it is none of them, or it alone is empty.
fn has_label(row: &GridRow, body: &[&GridRow], profiles: &[ColumnProfile]) -> bool {
    let is_label = |(index, (cell, profile)): (usize, (&Cell, &ColumnProfile))| match (kind_of(cell), profile.kind()) {
        (CellKind::Text, CellKind::Text) => {
            let text = text_of(cell).to_lowercase();
            !body.iter().filter_map(|below| below.cells.get(index)).any(|below| text_of(below).to_lowercase() == text)
        }
        (CellKind::Empty, CellKind::Text | CellKind::Figure | CellKind::Date) => profile.filled() == body.len(),
        (CellKind::Empty | CellKind::Text | CellKind::Figure | CellKind::Date, _) => false,
    };
    row.cells.iter().zip(profiles).enumerate().any(is_label)
}

/// Finds the header: the fullest row that names columns, above the first row of data and below the titles.
pub(super) fn find(rows: &[GridRow]) -> Position {
    let is_narrow = rows.iter().all(|row| filled(row) < 2);
    let is_row = |row: &&GridRow| is_narrow || filled(row) >= 2;
    let width = usual(rows.iter().filter(is_row).map(used_width));
    let full = usual(rows.iter().filter(is_row).map(filled));
    let mut best: Option<(usize, (bool, usize))> = None;
    let mut has_firm = false;
    for (index, row) in rows.iter().enumerate().take(HEADER_ROWS_MAX).skip(titles::count(rows)) {
        if !is_row(&row) {
            continue;
        }
        let body: Vec<&GridRow> = rows.iter().skip(index + 1).filter(is_row).take(BODY_ROWS_MAX).collect();
        let cells = filled(row);
        match look(row, &body, width) {
            RowRole::Data if cells >= full => break,
            RowRole::Data => {}
            RowRole::Header { .. } | RowRole::Neutral if row.cells.len() < width && cells < full => {}
            // The first row of data below a header that lacks a name may have `1`, `2` and `3` by chance.
            RowRole::Header { is_series: true, .. } if has_firm => break,
            look @ (RowRole::Header { .. } | RowRole::Neutral) => {
                let is_pair = matches!(row.cells.first(), Some(Cell::Text(text)) if text.ends_with(':'));
                let rank = (look != RowRole::Neutral, cells);
                if !is_pair && best.is_none_or(|(_, highest)| rank > highest) {
                    best = Some((index, rank));
                    has_firm = matches!(look, RowRole::Header { is_firm: true, .. });
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
