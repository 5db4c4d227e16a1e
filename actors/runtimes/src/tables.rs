//! Tables in files, and the facts about them: reads CSV, JSON, JSON Lines and workbooks, types the columns,
//! and computes exact figures for a period.
//!
//! ```text
//! read → grid → classify (dates, decimal) → facts
//! ```
//!
//! Charts, reports and narratives are made from [`TableFacts`] and format figures by `number_format`.

use greenroom_protocol::Cause;

mod classify;
mod dates;
mod decimal;
mod facts;
mod grid;
mod note;
pub(crate) mod number_format;
mod options;
#[cfg(test)]
mod quirks_tests;
mod read;
#[cfg(test)]
mod robustness_tests;
#[cfg(test)]
mod tests;
mod unit;

pub use classify::Notation;
pub(crate) use classify::{TypedColumn, TypedTable, TypedValues};
pub use dates::{DateOrder, FiscalYear, NamedBy};
pub use facts::{Breakdown, ColumnFact, Group, GrowthFact, Measure, Month, PeriodFact, TableFacts, Totals};
use grid::GridSource;
pub use note::Note;
pub use options::TableOptions;

/// Reads the rows of a file with the types of its columns, for queries. `table` names one of several tables of the file.
///
/// # Errors
/// `invalid_input` if the file has several tables and `table` names none of them; `invalid_data` with the line;
/// `payload_too_large` beyond the bounds of a table.
pub(crate) fn read_typed(bytes: &[u8], table: Option<&str>) -> Result<TypedTable, Cause> {
    let options = TableOptions { table: table.map(str::to_owned), ..TableOptions::default() };
    let grid = read::read(bytes, options.table.as_deref())?;
    let settings = options.settings(grid.source == GridSource::Delimited { delimiter: b';' });
    classify::typed_table(grid, &settings)
}

/// Computes the facts about a period of a file, or about all of it. `name` is what the facts call the file.
///
/// # Errors
/// `invalid_input` if the quarter cannot be read, or if the file has several tables and the options name none
/// of them; `invalid_data` with the line; `no_data_for_period` with the range of the file;
/// `payload_too_large` beyond the bounds of a table.
pub fn read_facts(name: &str, bytes: &[u8], options: &TableOptions) -> Result<TableFacts, Cause> {
    let period = options.period()?;
    let grid = read::read(bytes, options.table.as_deref())?;
    let settings = options.settings(grid.source == GridSource::Delimited { delimiter: b';' });
    facts::compute::compute_facts(name, classify::classify(grid, &settings)?, period)
}
