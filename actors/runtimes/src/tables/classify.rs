//! The classification of a table: grid → which row is the header, which rows are data, what each column is and
//! why, in which notation and with which unit. Every doubtful choice becomes a note or a warning; what cannot
//! be read in a column of numbers is an error with its line.
//!
//! ```text
//! layout      header and rows                       (header, names)
//! date_parts  year and month in columns of their own
//! evidence    what the cells of a column are        (cells, figure, years, unit)
//! decide      numbers, identifiers, groups or texts (meaning)
//! notation    decimal point or decimal comma
//! totals      rows that repeat others
//! series      figures of one unit, and whether they add up (units, name_unit)
//! ```

use greenroom_protocol::Cause;

mod cells;
mod classified_grid;
mod columns;
mod date_parts;
mod decide;
mod evidence;
mod figure;
mod figure_rows;
mod findings;
mod layout;
mod meaning;
mod name_unit;
mod names;
mod notation;
mod numbers;
mod series;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod totals;
mod typed;
mod units;
mod years;

pub(crate) use meaning::is_lower_better;
pub use notation::Notation;
pub(crate) use settings::ClassifySettings;
pub(crate) use table::{Additivity, Column, Kind, Series, Table};
pub(crate) use typed::{TypedColumn, TypedTable, TypedValues, typed_table};

use super::grid::Grid;
use super::note::unreadable;
use classified_grid::{ClassifiedGrid, classify_grid};
use columns::Classification;
use findings::Findings;
use table::Row;

/// Classifies a table.
///
/// # Errors
/// `invalid_data`, with the line where there is one: no rows, a row of another width, a cell that is no figure
/// in a column of numbers, a row without a date, or no column of numbers.
pub(crate) fn classify(grid: Grid, settings: &ClassifySettings) -> Result<Table, Cause> {
    let ClassifiedGrid { layout, classification, data, mut findings } = classify_grid(grid, settings)?;
    let data = classification.drop_undated(&layout, data, &mut findings)?;
    let dates = classification.dates(&layout, &data, &mut findings)?;
    let mut rows: Vec<Row> = layout
        .rows
        .iter()
        .map(|row| Row {
            line: row.line,
            cells: row.cells.iter().map(|cell| cells::text_of(cell).into_owned()).collect(),
        })
        .collect();
    numbers::retain(&mut rows, &data);
    if rows.is_empty() {
        return Err(unreadable("the file has no rows of data besides its totals"));
    }
    let Classification { mut columns, mut numbers, .. } = classification;
    for column in &mut numbers {
        column.retain(&data);
    }
    let mut series = columns::make_series(&mut columns, &numbers, &rows, &mut findings);
    if series.is_empty() {
        return Err(columns::no_numbers(&findings));
    }
    series::mark_running_totals(&mut series, &mut findings);
    if dates.is_none() {
        figure_rows::mark(&columns, &rows, &mut series, &mut findings);
    }
    columns::note_date_columns(&columns, dates.as_ref(), &mut findings);
    let Findings { notes, warnings, undated } = findings;
    Ok(Table { columns, rows, dates, undated, series, notes, warnings })
}
