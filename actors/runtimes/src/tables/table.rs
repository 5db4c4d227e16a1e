//! A table as the parsers produce it: named columns, and rows with their line in the file.
//!
//! Cells are text, since only the complete column determines the type of a cell.

use std::collections::BTreeSet;

use greenroom_protocol::Cause;

use super::grid::{Cell, Grid, GridSource};
pub(crate) use super::note::{invalid, preview};
use super::{dates, decimal, note};

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct TableRow {
    /// The line of the file on which it begins, from 1; for a JSON array, the number of the item.
    pub(crate) line: u64,
    /// One cell per column.
    pub(crate) cells: Vec<String>,
}

/// A table.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// The names of the columns, all different.
    pub(crate) columns: Vec<String>,
    /// The rows, in the order of the file.
    pub(crate) rows: Vec<TableRow>,
    /// True if semicolons separate the cells, which usually means that commas are decimal.
    pub(crate) semicolons: bool,
}

impl Table {
    /// Creates a table whose header is the first row, unless that row has a figure or a date.
    ///
    /// # Errors
    /// `invalid_data` for a row of another width, or a header without rows.
    pub(crate) fn from_grid(grid: Grid) -> Result<Self, Cause> {
        let semicolons = grid.source == GridSource::Delimited { delimiter: b';' };
        let mut rows: Vec<TableRow> = grid
            .rows
            .into_iter()
            .map(|row| TableRow { line: row.line, cells: row.cells.into_iter().map(text_of).collect() })
            .collect();
        let width = rows.first().map_or(0, |row| row.cells.len());
        if let Some(row) = rows.iter().find(|row| row.cells.len() != width) {
            let message = format!("the row has {} cells, the rows above have {width}", row.cells.len());
            return Err(invalid(row.line, message));
        }
        let is_data = |cell: &String| decimal::looks_numeric(cell) || dates::looks_like_date(cell);
        let columns = match grid.header {
            Some(names) => distinct_names(names),
            None if rows.first().is_some_and(|first| first.cells.iter().any(is_data)) => {
                distinct_names(vec![String::new(); width])
            }
            None => distinct_names(rows.remove(0).cells),
        };
        if rows.is_empty() {
            return Err(note::unreadable("the file has a header and no rows"));
        }
        Ok(Self { columns, rows, semicolons })
    }

    /// The cells of one column, with the line of each.
    pub(crate) fn cells(&self, column: usize) -> impl Iterator<Item = (u64, &str)> {
        self.rows.iter().map(move |row| (row.line, row.cells.get(column).map_or("", String::as_str)))
    }
}

/// Makes column names distinct and non-empty: `column_3`, `revenue_2`.
pub(crate) fn distinct_names(raw: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut used = BTreeSet::new();
    let mut names = Vec::new();
    for (index, name) in raw.into_iter().enumerate() {
        let name = name.trim();
        let base = if name.is_empty() { format!("column_{}", index + 1) } else { name.to_owned() };
        let mut unique = base.clone();
        let mut number = 2;
        while !used.insert(unique.clone()) {
            unique = format!("{base}_{number}");
            number += 1;
        }
        names.push(unique);
    }
    names
}

fn text_of(cell: Cell) -> String {
    match cell {
        Cell::Empty => String::new(),
        Cell::Text(text) | Cell::Number(text) | Cell::Error(text) => text,
        Cell::Boolean(value) => value.to_string(),
        Cell::Date(date) => date.date().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::distinct_names;

    #[test]
    fn column_names_are_made_distinct() {
        let names = distinct_names(["a", "", "a", "a_2", " b "].map(str::to_owned));
        assert_eq!(names, ["a", "column_2", "a_2", "a_2_2", "b"]);
    }
}
