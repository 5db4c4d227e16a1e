//! A table as it was read: named columns, rows with the line that each came from.
//!
//! Cells are kept as text, since only the whole column says what a cell is.

use std::collections::BTreeSet;

use greenroom_protocol::{Cause, ErrorCode};
use serde_json::json;

/// Rows of a file at most.
pub(crate) const ROWS_MAX: usize = 500_000;
/// Columns of a file at most.
pub(crate) const COLUMNS_MAX: usize = 200;
/// Bytes of one cell at most.
pub(crate) const CELL_BYTES_MAX: usize = 32 * 1024;
/// Characters of a cell that an error shows.
const PREVIEW_CHARS_MAX: usize = 60;

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct TableRow {
    /// The line of the file that it begins on, from 1; for a JSON array, the item's place.
    pub(crate) line: u64,
    /// As many as the table has columns.
    pub(crate) cells: Vec<String>,
}

/// A table.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// The columns' names, each one once.
    pub(crate) columns: Vec<String>,
    /// The rows, in the order of the file.
    pub(crate) rows: Vec<TableRow>,
    /// True if cells are divided by semicolons, which mostly means that commas are decimal.
    pub(crate) semicolons: bool,
}

impl Table {
    /// The cells of one column, with the line of each.
    pub(crate) fn cells(&self, column: usize) -> impl Iterator<Item = (u64, &str)> {
        self.rows.iter().map(move |row| (row.line, row.cells.get(column).map_or("", String::as_str)))
    }
}

/// The data cannot be read as what it claims to be; `line` is where.
pub(crate) fn invalid(line: u64, message: impl std::fmt::Display) -> Cause {
    Cause::new(ErrorCode::InvalidData, format!("line {line}: {message}")).with_details(json!({ "line": line }))
}

/// A cell as an error may show it: short and on one line.
pub(crate) fn preview(cell: &str) -> String {
    let line: String = cell.chars().map(|c| if c.is_control() { ' ' } else { c }).take(PREVIEW_CHARS_MAX).collect();
    if cell.chars().count() > PREVIEW_CHARS_MAX { format!("{line:?}…") } else { format!("{line:?}") }
}

/// Names of columns that are all different and never empty: `column_3`, `revenue_2`.
pub(crate) fn distinct_names(raw: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut names = Vec::new();
    for (place, name) in raw.into_iter().enumerate() {
        let name = name.trim();
        let base = if name.is_empty() { format!("column_{}", place + 1) } else { name.to_owned() };
        let mut unique = base.clone();
        let mut number = 2;
        while !seen.insert(unique.clone()) {
            unique = format!("{base}_{number}");
            number += 1;
        }
        names.push(unique);
    }
    names
}

/// Refuses a table that is too wide.
pub(crate) fn check_width(columns: usize) -> Result<(), Cause> {
    if columns > COLUMNS_MAX {
        let message = format!("the data has {columns} columns, at most {COLUMNS_MAX} are read");
        return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
    }
    Ok(())
}

/// Refuses a table that is too long.
pub(crate) fn check_length(rows: usize) -> Result<(), Cause> {
    if rows > ROWS_MAX {
        let message = format!("the data has more than {ROWS_MAX} rows, which is more than is read at once");
        return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
    }
    Ok(())
}

/// Refuses a cell that is too long to be a figure, a date or a name.
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
    fn columns_get_names_that_differ() {
        let names = distinct_names(["a", "", "a", "a_2", " b "].map(str::to_owned));
        assert_eq!(names, ["a", "column_2", "a_2", "a_2_2", "b"]);
    }

    #[test]
    fn an_error_shows_a_short_cell_on_one_line() {
        assert_eq!(preview("a\nb"), "\"a b\"");
        assert!(preview(&"x".repeat(500)).chars().count() < 70);
    }
}
