//! A table as the parsers produce it: named columns, and rows with their line in the file.
//!
//! Cells are text, since only the complete column determines the type of a cell.

use std::collections::BTreeSet;

use greenroom_protocol::{Cause, ErrorCode};
use serde_json::json;

/// Maximum rows of a file.
pub(crate) const ROWS_MAX: usize = 500_000;
/// Maximum columns of a file.
pub(crate) const COLUMNS_MAX: usize = 200;
/// Maximum size of one cell.
pub(crate) const CELL_BYTES_MAX: usize = 32 * 1024;
/// Maximum characters of a cell in an error.
const PREVIEW_CHARS_MAX: usize = 60;

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
    /// The cells of one column, with the line of each.
    pub(crate) fn cells(&self, column: usize) -> impl Iterator<Item = (u64, &str)> {
        self.rows.iter().map(move |row| (row.line, row.cells.get(column).map_or("", String::as_str)))
    }
}

/// Creates the error for data that cannot be read at `line`.
pub(crate) fn invalid(line: u64, message: impl std::fmt::Display) -> Cause {
    Cause::new(ErrorCode::InvalidData, format!("line {line}: {message}")).with_details(json!({ "line": line }))
}

/// Formats a cell for an error: short and on one line.
pub(crate) fn preview(cell: &str) -> String {
    let line: String = cell.chars().map(|c| if c.is_control() { ' ' } else { c }).take(PREVIEW_CHARS_MAX).collect();
    if cell.chars().count() > PREVIEW_CHARS_MAX { format!("{line:?}…") } else { format!("{line:?}") }
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

/// Rejects a table with too many columns.
pub(crate) fn check_width(columns: usize) -> Result<(), Cause> {
    if columns > COLUMNS_MAX {
        let message = format!("the data has {columns} columns, at most {COLUMNS_MAX} are read");
        return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
    }
    Ok(())
}

/// Rejects a table with too many rows.
pub(crate) fn check_length(rows: usize) -> Result<(), Cause> {
    if rows > ROWS_MAX {
        let message = format!("the data has more than {ROWS_MAX} rows, the maximum that is read");
        return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
    }
    Ok(())
}

/// Rejects a cell that is too long to be a figure, a date or a name.
pub(crate) fn check_cell(line: u64, column: &str, bytes: usize) -> Result<(), Cause> {
    if bytes > CELL_BYTES_MAX {
        let message =
            format!("the cell in column {} has {bytes} bytes, at most {CELL_BYTES_MAX} are read", preview(column));
        return Err(invalid(line, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{distinct_names, preview};

    #[test]
    fn column_names_are_made_distinct() {
        let names = distinct_names(["a", "", "a", "a_2", " b "].map(str::to_owned));
        assert_eq!(names, ["a", "column_2", "a_2", "a_2_2", "b"]);
    }

    #[test]
    fn an_error_shows_a_short_cell_on_one_line() {
        assert_eq!(preview("a\nb"), "\"a b\"");
        assert!(preview(&"x".repeat(500)).chars().count() < 70);
    }
}
