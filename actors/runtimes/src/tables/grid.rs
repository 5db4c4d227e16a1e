//! The cells of a file before anything is decided about them: no header, no types, no notation. The readers
//! make grids; the classification of a table begins with one.

use greenroom_protocol::{Cause, ErrorCode};
use jiff::civil::DateTime;

use super::note::{Note, invalid, preview};
use super::unit::Unit;

/// Maximum rows of a file.
pub(crate) const ROWS_MAX: usize = 500_000;
/// Maximum columns of a file.
pub(crate) const COLUMNS_MAX: usize = 200;
/// Maximum cells of a file. The largest allowed width and length together would not fit into memory.
pub(crate) const CELLS_MAX: usize = 10_000_000;
/// Maximum size of one cell; a longer one is no figure, date or name.
const CELL_BYTES_MAX: usize = 32 * 1024;

/// The cells of one table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grid {
    /// The kind of file.
    pub(crate) source: GridSource,
    /// The names of the columns, if the file states them for certain: the members of JSON objects. Each row
    /// then has as many cells. Without it, the header may be any of the first rows, or missing.
    pub(crate) header: Option<Vec<String>>,
    /// The rows that have a cell which is not empty, in the order of the file. They may differ in width.
    pub(crate) rows: Vec<GridRow>,
    /// How the file was read, as far as another reading was possible.
    pub(crate) notes: Vec<Note>,
    /// What may be wrong with the file as a whole.
    pub(crate) warnings: Vec<Note>,
}

/// Kinds of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GridSource {
    /// Text whose cells a delimiter separates.
    Delimited {
        /// The delimiter.
        delimiter: u8,
    },
    /// One JSON document.
    Json,
    /// A sequence of JSON documents, one for each row.
    JsonLines,
    /// An Excel workbook.
    Workbook {
        /// The name of the sheet.
        sheet: String,
    },
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GridRow {
    /// The line of the file on which it begins, from 1; in a workbook, the row of the sheet.
    pub(crate) line: u64,
    /// Its cells.
    pub(crate) cells: Vec<Cell>,
}

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    /// No text, or `null`.
    Empty,
    /// Text, without surrounding spaces; only its column determines whether it is a figure or a date.
    Text(String),
    /// A typed number of JSON or of a workbook: digits, at most one point, an optional minus.
    Number(String),
    /// A typed number of a workbook whose number format shows a unit: its digits as in `Number`, and the unit.
    Measured(String, Unit),
    /// A typed truth value.
    Boolean(bool),
    /// A typed date of a workbook.
    Date(DateTime),
    /// An error that a workbook has instead of a value, such as `#DIV/0!`.
    Error(String),
}

impl Cell {
    /// Creates a cell from text; spaces around it are not part of it.
    pub(crate) fn from_text(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() { Self::Empty } else { Self::Text(text.to_owned()) }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Empty | Self::Boolean(_) | Self::Date(_) => 0,
            Self::Text(text) | Self::Number(text) | Self::Measured(text, _) | Self::Error(text) => text.len(),
        }
    }
}

/// Rows within the bounds of a table.
#[derive(Debug, Default)]
pub(crate) struct RowCollector {
    rows: Vec<GridRow>,
    cells: usize,
}

impl RowCollector {
    /// Appends a row, unless all of its cells are empty.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`] beyond the bounds of a table; [`ErrorCode::InvalidData`] for a cell
    /// that is too long.
    pub(crate) fn push(&mut self, line: u64, cells: Vec<Cell>) -> Result<(), Cause> {
        if cells.iter().all(|cell| *cell == Cell::Empty) {
            return Ok(());
        }
        check_width(line, cells.len())?;
        for (index, cell) in cells.iter().enumerate() {
            let bytes = cell.bytes();
            if bytes > CELL_BYTES_MAX {
                let message = format!("cell {} has {bytes} bytes, at most {CELL_BYTES_MAX} are read", index + 1);
                return Err(invalid(line, message));
            }
        }
        self.cells += cells.len();
        if self.rows.len() >= ROWS_MAX {
            return Err(too_large(format!("the data has more than {ROWS_MAX} rows, the maximum that is read")));
        }
        check_cells(self.cells)?;
        self.rows.push(GridRow { line, cells });
        Ok(())
    }

    /// The rows.
    pub(crate) fn into_rows(self) -> Vec<GridRow> {
        self.rows
    }

    /// The rows, each with as many cells; the missing ones at their end are empty.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`] beyond the bounds of a table.
    pub(crate) fn into_padded_rows(mut self, width: usize) -> Result<Vec<GridRow>, Cause> {
        check_cells(self.rows.len().saturating_mul(width))?;
        for row in &mut self.rows {
            row.cells.resize(width, Cell::Empty);
        }
        Ok(self.rows)
    }
}

fn check_cells(cells: usize) -> Result<(), Cause> {
    if cells > CELLS_MAX {
        return Err(too_large(format!("the data has more than {CELLS_MAX} cells, the maximum that is read")));
    }
    Ok(())
}

/// Rejects a row with too many columns.
///
/// # Errors
/// [`ErrorCode::PayloadTooLarge`].
pub(crate) fn check_width(line: u64, columns: usize) -> Result<(), Cause> {
    if columns > COLUMNS_MAX {
        return Err(too_large(format!("line {line}: the row has {columns} columns, at most {COLUMNS_MAX} are read")));
    }
    Ok(())
}

/// Creates the error for data beyond a bound.
pub(crate) fn too_large(message: impl Into<String>) -> Cause {
    Cause::new(ErrorCode::PayloadTooLarge, message)
}

/// Formats the names of several things for a note or an error: short, and not all of many.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const NAMES_MAX: usize = 8;
    let all: Vec<&str> = names.into_iter().collect();
    let listed: Vec<String> = all.iter().take(NAMES_MAX).map(|name| preview(name)).collect();
    match all.len().saturating_sub(NAMES_MAX) {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;

    use super::{CELL_BYTES_MAX, COLUMNS_MAX, Cell, RowCollector, list};

    #[test]
    fn a_row_beyond_a_bound_is_rejected_and_an_empty_one_is_skipped() {
        let mut rows = RowCollector::default();
        rows.push(1, vec![Cell::Empty, Cell::from_text("  ")]).unwrap();
        rows.push(2, vec![Cell::from_text(" a "), Cell::Empty]).unwrap();
        let wide = vec![Cell::from_text("x"); COLUMNS_MAX + 1];
        assert_eq!(rows.push(3, wide).unwrap_err().code, ErrorCode::PayloadTooLarge);
        let long = rows.push(4, vec![Cell::Text("x".repeat(CELL_BYTES_MAX + 1))]).unwrap_err();
        assert_eq!((long.code, &long.details["line"]), (ErrorCode::InvalidData, &4.into()));
        let rows = rows.into_rows();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].cells, [Cell::Text("a".to_owned()), Cell::Empty]);
    }

    #[test]
    fn a_long_list_of_names_is_shortened() {
        assert_eq!(list(["a", "b"]), "\"a\", \"b\"");
        assert!(list(["x"; 10]).ends_with("and 2 more"));
    }
}
