//! Tables in files, and the facts about them: reads CSV, JSON, JSON Lines and workbooks, types the columns,
//! and computes exact figures for a period.
//!
//! ```text
//! read → grid → table → columns (dates, decimal) → facts
//! ```
//!
//! Charts, reports and narratives are made from [`TableFacts`] and format figures by `number_format`.

use greenroom_protocol::{Cause, ErrorCode};

mod columns;
mod dates;
mod decimal;
mod facts;
mod grid;
mod note;
pub(crate) mod number_format;
mod read;
#[cfg(test)]
mod robustness_tests;
mod table;
#[cfg(test)]
mod tests;

pub use facts::{Breakdown, ColumnFact, Group, GrowthFact, Measure, Month, PeriodFact, TableFacts, Totals};
pub use note::Note;

/// Computes the facts about a quarter of a file, or about all of it. `name` is what the facts call the
/// file.
///
/// # Errors
/// `invalid_input` if the quarter cannot be read; `invalid_data` with the line; `no_data_for_period`
/// with the range of the file; `payload_too_large` beyond the bounds of a table.
pub fn read_facts(name: &str, bytes: &[u8], quarter: Option<&str>) -> Result<TableFacts, Cause> {
    let period = quarter.map(parse_quarter).transpose()?;
    let mut grid = read::read(bytes, None)?;
    let notes = std::mem::take(&mut grid.notes);
    let mut facts = facts::compute::compute_facts(name, &table::Table::from_grid(grid)?, period)?;
    facts.notes.splice(0..0, notes);
    Ok(facts)
}

fn parse_quarter(text: &str) -> Result<dates::Period, Cause> {
    dates::Period::parse_quarter(text).ok_or_else(|| {
        Cause::new(ErrorCode::InvalidInput, "the quarter is written like `Q4 2024`, `2024-Q4` or `2024Q4`")
    })
}
