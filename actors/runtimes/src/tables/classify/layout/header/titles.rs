//! Lines above the header that are as wide as the table, such as `Exported,2025-01-02` or `Total;40`.

use std::collections::BTreeSet;

use super::BODY_ROWS_MAX;
use super::profile::{CellKind, ColumnProfile, kind_of};
use crate::tables::classify::cells::{filled, text_of, used_width};
use crate::tables::classify::meaning::{Meaning, meaning_of};
use crate::tables::grid::{Cell, GridRow};
use crate::tables::unit;

/// Rows among which the titles end.
const TITLE_ROWS_MAX: usize = 10;

/// Counts the rows above the table that are titles for certain, because a row of nothing but names follows them.
pub(super) fn count(rows: &[GridRow]) -> usize {
    let mut titles = 0;
    let mut above: Option<&GridRow> = None;
    for (index, row) in rows.iter().enumerate().take(TITLE_ROWS_MAX).filter(|(_, row)| filled(row) > 1) {
        let Some(title) = above.replace(row) else { continue };
        let body: Vec<&GridRow> =
            rows.iter().skip(index + 1).filter(|row| filled(row) > 1).take(BODY_ROWS_MAX).collect();
        let profiles = ColumnProfile::of_columns(row.cells.len(), &body);
        // A header below a row of data is that of another table.
        if is_data(row, &profiles) || body.first().is_some_and(|next| is_data_below(title, row, next)) {
            break;
        }
        if used_width(row) >= used_width(title) && names_instead_of(title, row, &profiles) {
            titles = index;
        }
    }
    titles
}

/// True if every value of the row has the type of its column.
fn is_data(row: &GridRow, profiles: &[ColumnProfile]) -> bool {
    let kinds = || row.cells.iter().zip(profiles).map(|(cell, profile)| (kind_of(cell), profile.kind()));
    kinds().any(|(kind, _)| matches!(kind, CellKind::Figure | CellKind::Date))
        && kinds().all(|(kind, column)| kind == column || kind == CellKind::Empty || column == CellKind::Empty)
}

/// True if a row with values is more than a title, whatever the columns are further below: it has no pairs of a text
/// and its value, or the row above it names figures, or the next row has figures as well.
fn is_data_below(above: &GridRow, row: &GridRow, next: &GridRow) -> bool {
    let kinds = |row: &GridRow| row.cells.iter().map(kind_of).collect::<Vec<CellKind>>();
    let is_value = |kind: &CellKind| matches!(kind, CellKind::Figure | CellKind::Date);
    let (row_kinds, next_kinds) = (kinds(row), kinds(next));
    let is_pairs = row_kinds.len() % 2 == 0 && row_kinds.iter().step_by(2).all(|kind| !is_value(kind));
    let is_named = above.cells.iter().zip(&row_kinds).any(|(cell, kind)| {
        is_value(kind) && kind_of(cell) == CellKind::Text && meaning_of(&text_of(cell)) != Meaning::Unknown
    });
    let has_equal = row_kinds == next_kinds && row_kinds.contains(&CellKind::Figure);
    row_kinds.iter().any(is_value) && (!is_pairs || is_named || has_equal)
}

/// True if a row has the names of the columns, so that the row above it is a title. Both may be texts over figures:
/// either the row has texts over dates too, as no row of data has, or its names are those of figures, and those above
/// are not.
fn names_instead_of(title: &GridRow, row: &GridRow, profiles: &[ColumnProfile]) -> bool {
    let texts: Vec<String> = row.cells.iter().map(|cell| text_of(cell).to_lowercase()).collect();
    let distinct: BTreeSet<&String> = texts.iter().filter(|text| !text.is_empty()).collect();
    let is_text = |cell: &Cell| matches!(kind_of(cell), CellKind::Text | CellKind::Empty);
    let is_repeated = title.cells.iter().map(|cell| text_of(cell).to_lowercase()).eq(texts.iter().cloned());
    if filled(row) < filled(title) || distinct.len() < filled(row) || !row.cells.iter().all(is_text) || is_repeated {
        return false;
    }
    let has_values = title.cells.iter().any(|cell| matches!(kind_of(cell), CellKind::Figure | CellKind::Date));
    let (mut dates, mut known, mut known_above) = (0_usize, 0_usize, 0_usize);
    for (index, (cell, profile)) in row.cells.iter().zip(profiles).enumerate() {
        let text = text_of(cell);
        if matches!(profile.kind(), CellKind::Text | CellKind::Empty) {
            continue;
        }
        // A row of units below the names.
        if unit::affix(text.trim()).is_some() {
            return false;
        }
        dates += usize::from(profile.kind() == CellKind::Date && kind_of(cell) == CellKind::Text);
        let above = title.cells.get(index).map_or_else(String::new, |cell| text_of(cell).into_owned());
        // `price on request` may be a cell of a table.
        let is_name = has_values || !text.trim().contains(char::is_whitespace);
        known += usize::from(is_name && meaning_of(&text) != Meaning::Unknown);
        known_above += usize::from(meaning_of(&above) != Meaning::Unknown);
    }
    let is_above_data = is_data(title, profiles);
    known > known_above || (dates > 0 && known == known_above && !is_above_data)
}
