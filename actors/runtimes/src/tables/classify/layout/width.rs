//! Whether every row has the width of the table. A figure with a comma that is not in quotes makes its row wider.

use greenroom_protocol::Cause;

use super::header;
use crate::tables::classify::cells::{text_of, used_width};
use crate::tables::classify::figure::{Form, form_of};
use crate::tables::grid::{Cell, GridRow, GridSource};
use crate::tables::note::{invalid, preview};

/// Digits of the last group of a figure.
const GROUP_DIGITS: usize = 3;
/// Digits of a fraction of an amount.
const CENT_DIGITS: usize = 2;

/// Gives a row the width of the table.
///
/// # Errors
/// `invalid_data` with the line of a row that has another width.
pub(super) fn fit(row: &mut GridRow, width: usize, source: &GridSource) -> Result<(), Cause> {
    // A workbook stores no empty cells at the end of a row.
    let may_be_short = matches!(source, GridSource::Workbook { .. });
    if used_width(row) > width || (row.cells.len() < width && !may_be_short) {
        let cells = used_width(row).max(row.cells.len().min(width));
        let message =
            format!("the row has {cells} cells, the table has {width} columns; {}", advice(row, width, source));
        return Err(invalid(row.line, message));
    }
    row.cells.resize(width, Cell::Empty);
    Ok(())
}

/// Rejects the first row that has more cells than the row of names above the table, as all rows have whose figures are
/// split at their commas. Without this, the row of names is the one of another width.
///
/// # Errors
/// `invalid_data` with the line of that row.
pub(super) fn check_names(rows: &[GridRow], width: usize, source: &GridSource) -> Result<(), Cause> {
    let Some((names, body)) = rows.split_first() else { return Ok(()) };
    let named = used_width(names);
    let are_names = named > 1 && names.cells.iter().take(named).all(header::is_text);
    let Some(wide) = body.iter().find(|row| used_width(row) > named) else { return Ok(()) };
    if !are_names || named >= width || matches!(source, GridSource::Workbook { .. }) {
        return Ok(());
    }
    let message = format!(
        "the row has {} cells, and line {} has {named} names; {}, and every column has a name",
        used_width(wide),
        names.line,
        advice(wide, named, source)
    );
    Err(invalid(wide.line, message))
}

/// What to do about a row of another width.
fn advice(row: &GridRow, width: usize, source: &GridSource) -> String {
    match split_figure(row, width, source) {
        Some(figure) => format!("a figure with a comma is written in quotes, such as {}", preview(&figure)),
        None => "a cell that contains the delimiter is written in quotes".to_owned(),
    }
}

/// The figure that the commas in it have split, so that its row has more cells than the table has columns.
fn split_figure(row: &GridRow, width: usize, source: &GridSource) -> Option<String> {
    let extra = used_width(row).checked_sub(width).filter(|extra| *extra > 0)?;
    if *source != (GridSource::Delimited { delimiter: b',' }) {
        return None;
    }
    let texts: Vec<String> = row.cells.iter().map(|cell| text_of(cell).into_owned()).collect();
    let find = |cells: usize, digits: usize| {
        texts.windows(cells).map(|cells| cells.join(",")).find(|figure| {
            let (_, last) = figure.rsplit_once(',').unwrap_or_default();
            last.bytes().take_while(u8::is_ascii_digit).count() == digits && matches!(form_of(figure), Form::Figure(_))
        })
    };
    // One figure with all commas, or the first of several; its last comma is before a group or before cents.
    let all_commas = extra + 1;
    find(all_commas, GROUP_DIGITS).or_else(|| find(2, GROUP_DIGITS)).or_else(|| find(2, CENT_DIGITS))
}
