//! An Excel workbook → grid of one of its sheets.
//!
//! ```text
//! cells          the cells of a sheet, with what their number formats show (format_code)
//! sheet_layout   hidden rows and columns, merged cells
//! ```

use std::io::{Cursor, Read};

use calamine::{Reader, Sheet, SheetType, SheetVisible, Xlsx};
use greenroom_protocol::{Cause, ErrorCode};
use serde_json::json;
use zip::ZipArchive;

use super::{INFLATED_BYTES_MAX, no_table};
use crate::tables::grid::{Grid, GridSource, list, too_large};
use crate::tables::note::{Note, preview, unreadable};

mod cells;
mod format_code;
mod sheet_layout;

use cells::{SheetContent, Workbook, damaged, read_cells};

/// Reads the sheet that `table` names, or the only sheet with figures.
///
/// # Errors
/// `invalid_data` if the workbook is damaged or has no rows; `invalid_input` if several sheets may be the
/// table and `table` names none of them; `payload_too_large` beyond the bounds of a table.
pub(super) fn read(bytes: &[u8], table: Option<&str>) -> Result<Grid, Cause> {
    check_inflated_size(bytes)?;
    let mut workbook: Workbook<'_> = Xlsx::new(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
    let sheets: Vec<Sheet> =
        workbook.sheets_metadata().iter().filter(|sheet| sheet.typ == SheetType::WorkSheet).cloned().collect();
    if let Some(table) = table {
        let Some(sheet) = sheets.iter().find(|sheet| sheet.name == table) else {
            let names = list(sheets.iter().map(|sheet| sheet.name.as_str()));
            return Err(no_table(table, &format!("the sheets of the workbook are {names}")));
        };
        return grid(read_sheet(bytes, &mut workbook, &sheet.name)?, Vec::new());
    }
    let (visible, hidden): (Vec<Sheet>, Vec<Sheet>) =
        sheets.into_iter().partition(|sheet| sheet.visible == SheetVisible::Visible);
    let mut contents = Vec::with_capacity(visible.len());
    for sheet in &visible {
        contents.push(read_sheet(bytes, &mut workbook, &sheet.name)?);
    }
    contents.retain(|content| !content.rows.is_empty());
    choose(contents, &hidden)
}

/// Reads the cells of a sheet, and what its layout says about them.
fn read_sheet(bytes: &[u8], workbook: &mut Workbook<'_>, name: &str) -> Result<SheetContent, Cause> {
    let mut content = read_cells(workbook, name)?;
    if !content.rows.is_empty() {
        sheet_layout::apply(bytes, &mut content)?;
    }
    Ok(content)
}

/// Rejects a workbook that expands to more than the bound. The sizes that an archive states may be false, so
/// its files are decompressed.
fn check_inflated_size(bytes: &[u8]) -> Result<(), Cause> {
    let damaged =
        |error: &dyn std::fmt::Display| unreadable(format!("the workbook is damaged or not complete: {error}"));
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
    let mut total = 0_u64;
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(|error| damaged(&error))?;
        let mut content = file.take((INFLATED_BYTES_MAX - total) + 1);
        total += std::io::copy(&mut content, &mut std::io::sink()).map_err(|error| damaged(&error))?;
        if total > INFLATED_BYTES_MAX {
            let message =
                format!("the workbook expands to more than {INFLATED_BYTES_MAX} bytes, the maximum that is read");
            return Err(too_large(message));
        }
    }
    Ok(())
}

fn choose(mut contents: Vec<SheetContent>, hidden: &[Sheet]) -> Result<Grid, Cause> {
    let with_figures: Vec<usize> =
        contents.iter().enumerate().filter(|(_, content)| content.has_figures()).map(|(index, _)| index).collect();
    let chosen = match (with_figures.as_slice(), contents.len()) {
        (_, 0) => return Err(unreadable("no visible sheet of the workbook has rows")),
        ([only], _) => *only,
        (_, 1) => 0,
        _ => return Err(several(&contents)),
    };
    let content = contents.swap_remove(chosen);
    let mut others: Vec<String> = contents.iter().map(|other| preview(&other.name)).collect();
    others.extend(hidden.iter().map(|sheet| format!("{} (hidden)", preview(&sheet.name))));
    let mut notes = Vec::new();
    if !others.is_empty() {
        let (name, others) = (preview(&content.name), others.join(", "));
        notes.push(Note::new(format!("The table is the sheet {name} of the workbook; not read: {others}.")));
    }
    grid(content, notes)
}

fn several(contents: &[SheetContent]) -> Cause {
    let names: Vec<&str> = contents.iter().map(|content| content.name.as_str()).collect();
    let described = contents.iter().map(|one| format!("{} with {} rows", preview(&one.name), one.rows.len()));
    let message = format!(
        "the workbook has several sheets that may be the table: {}; name one with the input `table`",
        described.collect::<Vec<_>>().join(", ")
    );
    Cause::new(ErrorCode::InvalidInput, message).with_details(json!({ "tables": names }))
}

fn grid(content: SheetContent, mut notes: Vec<Note>) -> Result<Grid, Cause> {
    let SheetContent { name, rows, notes: own, .. } = content;
    if rows.is_empty() {
        return Err(unreadable(format!("the sheet {} has no rows", preview(&name))));
    }
    notes.extend(own);
    Ok(Grid { source: GridSource::Workbook { sheet: name }, header: None, rows, notes, warnings: Vec::new() })
}

#[cfg(test)]
mod tests;
