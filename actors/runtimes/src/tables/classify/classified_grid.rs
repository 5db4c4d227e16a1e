//! A table whose rows and columns are decided, before anything is computed: what the facts and the queries read alike.

use greenroom_protocol::Cause;

use super::columns::{self, Classification};
use super::date_parts;
use super::findings::Findings;
use super::layout::{self, Layout};
use super::settings::ClassifySettings;
use super::totals;
use crate::tables::grid::Grid;

/// A table whose rows and columns are decided.
pub(super) struct ClassifiedGrid {
    /// The rows below the header.
    pub(super) layout: Layout,
    /// The columns, and the values of those of numbers in every row.
    pub(super) classification: Classification,
    /// True for each row of data, false for a total and for a repeated header.
    pub(super) data: Vec<bool>,
    /// What the reader of the file and the decisions have to report.
    pub(super) findings: Findings,
}

/// Decides the rows and the columns of a table.
///
/// # Errors
/// `invalid_data`, with the line where there is one: no rows, a row of another width, or a cell that is no figure in a
/// column of numbers.
pub(super) fn classify_grid(mut grid: Grid, settings: &ClassifySettings) -> Result<ClassifiedGrid, Cause> {
    let (notes, warnings) = (std::mem::take(&mut grid.notes), std::mem::take(&mut grid.warnings));
    let mut findings = Findings { notes, warnings, ..Findings::default() };
    let mut layout = layout::lay_out(grid, &mut findings)?;
    let labels = totals::label_rows(&layout.rows, &mut findings);
    let mut settings = *settings;
    settings.dates.file_order = columns::order_of_dates(&layout, &labels, &settings.dates);
    let joined = date_parts::join(&mut layout, &labels, &settings.dates, &mut findings);
    let classification = columns::classify(&layout, &labels, joined.as_ref(), &settings, &mut findings)?;
    let data = totals::find_data(&layout.rows, &labels, &classification.keys(), &mut findings);
    classification.check_returned(&layout, &labels, &data)?;
    Ok(ClassifiedGrid { layout, classification, data, findings })
}
