//! An Excel workbook → grid of one of its sheets.
//!
//! The cells are read one after the other. The ranges of the library have a cell for each position between
//! the first and the last one, which two cells of a small file can make larger than the memory.

use std::io::{Cursor, Read};

use calamine::{DataRef, ExcelDateTime, Reader, Sheet, SheetType, SheetVisible, Xlsx, XlsxError};
use greenroom_protocol::{Cause, ErrorCode};
use jiff::civil::{Date, DateTime};
use serde_json::json;
use zip::ZipArchive;

use super::{INFLATED_BYTES_MAX, no_table};
use crate::tables::grid::{COLUMNS_MAX, Cell, Grid, GridRow, GridSource, RowCollector, list, too_large};
use crate::tables::note::{Note, invalid, preview, unreadable};

/// What a cell has whose formula was never calculated; programs that only write workbooks leave it so.
const NOT_CALCULATED: &str = "formula without a value";

type Workbook<'a> = Xlsx<Cursor<&'a [u8]>>;

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
        return grid(read_sheet(&mut workbook, &sheet.name)?, Vec::new());
    }
    let (visible, hidden): (Vec<Sheet>, Vec<Sheet>) =
        sheets.into_iter().partition(|sheet| sheet.visible == SheetVisible::Visible);
    let mut contents = Vec::with_capacity(visible.len());
    for sheet in &visible {
        contents.push(read_sheet(&mut workbook, &sheet.name)?);
    }
    contents.retain(|content| !content.rows.is_empty());
    choose(contents, &hidden)
}

fn damaged(error: &XlsxError) -> Cause {
    unreadable(format!("the workbook is damaged or not complete: {error}"))
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

/// The cells of one sheet.
struct SheetContent {
    name: String,
    rows: Vec<GridRow>,
    /// The position of the first formula without a value, and how many there are.
    not_calculated: Option<(u64, String, u64)>,
}

impl SheetContent {
    /// True if a row after the first has a figure.
    fn has_figures(&self) -> bool {
        let is_figure = |cell: &Cell| match cell {
            Cell::Number(_) => true,
            Cell::Text(text) => text.bytes().any(|byte| byte.is_ascii_digit()),
            Cell::Empty | Cell::Boolean(_) | Cell::Date(_) | Cell::Error(_) => false,
        };
        self.rows.iter().skip(1).any(|row| row.cells.iter().any(is_figure))
    }
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
    let SheetContent { name, rows, not_calculated } = content;
    if rows.is_empty() {
        return Err(unreadable(format!("the sheet {} has no rows", preview(&name))));
    }
    if let Some((line, cell, count)) = not_calculated {
        let message = format!(
            "{count} cells, the first of them {cell} in line {line}, have a formula without a stored value; \
             open the workbook in a spreadsheet program and save it, so that they have one."
        );
        notes.push(Note::new(message).at_line(line));
    }
    Ok(Grid { source: GridSource::Workbook { sheet: name }, header: None, rows, notes })
}

fn read_sheet(workbook: &mut Workbook<'_>, name: &str) -> Result<SheetContent, Cause> {
    let mut reader = workbook.worksheet_cells_reader(name).map_err(|error| damaged(&error))?;
    let mut rows = RowCollector::default();
    let mut row = GridRow { line: 0, cells: Vec::new() };
    let (mut first_column, mut width) = (usize::MAX, 0);
    let mut not_calculated: Option<(u64, String, u64)> = None;
    while let Some(found) = reader.next_cell_with_formula().map_err(|error| damaged(&error))? {
        let (line, column) = (u64::from(found.pos.0) + 1, usize::try_from(found.pos.1).unwrap_or(usize::MAX));
        let mut cell = to_cell(&found.value, line)?;
        if cell == Cell::Empty && matches!(found.value, DataRef::Empty) && found.formula.is_some() {
            cell = Cell::Error(NOT_CALCULATED.to_owned());
            let position = format!("{}{line}", column_letters(column));
            not_calculated.get_or_insert((line, position, 0)).2 += 1;
        }
        if cell == Cell::Empty {
            continue;
        }
        if column >= COLUMNS_MAX {
            return Err(too_large(format!(
                "line {line}: the row has more than {COLUMNS_MAX} columns, the maximum that is read"
            )));
        }
        if line < row.line {
            return Err(unreadable("the workbook is damaged: the rows of its sheet are not in order"));
        }
        if line > row.line {
            rows.push(row.line, std::mem::take(&mut row.cells))?;
            row.line = line;
        }
        (first_column, width) = (first_column.min(column), width.max(column + 1));
        if row.cells.len() <= column {
            row.cells.resize(column + 1, Cell::Empty);
        }
        if let Some(target) = row.cells.get_mut(column) {
            *target = cell;
        }
    }
    rows.push(row.line, row.cells)?;
    // A sheet has no end of a row, and its table may begin in any column.
    let mut rows = rows.into_padded_rows(width)?;
    for row in &mut rows {
        row.cells.drain(..first_column.min(row.cells.len()));
    }
    Ok(SheetContent { name: name.to_owned(), rows, not_calculated })
}

/// `0` → `A`, `27` → `AB`
fn column_letters(index: usize) -> String {
    let letter = |digit: usize| char::from(b'A' + u8::try_from(digit % 26).unwrap_or_default());
    if index < 26 { letter(index).to_string() } else { format!("{}{}", column_letters(index / 26 - 1), letter(index)) }
}

fn to_cell(value: &DataRef<'_>, line: u64) -> Result<Cell, Cause> {
    Ok(match value {
        DataRef::Empty => Cell::Empty,
        DataRef::Int(number) => Cell::Number(number.to_string()),
        DataRef::Float(number) => Cell::Number(decimal_text(*number, line)?),
        DataRef::String(text) | DataRef::DurationIso(text) => Cell::from_text(text),
        DataRef::SharedString(text) => Cell::from_text(text),
        DataRef::Bool(value) => Cell::Boolean(*value),
        DataRef::DateTime(value) => date_or_time(value, line)?,
        DataRef::DateTimeIso(text) => iso_date(text),
        DataRef::Error(error) => Cell::Error(error.to_string()),
    })
}

/// The number as a spreadsheet program shows it: with 15 significant digits. A workbook stores 0.1 + 0.2 as
/// 0.30000000000000004.
fn decimal_text(number: f64, line: u64) -> Result<String, Cause> {
    let rounded = format!("{number:.14e}").parse::<f64>().ok().filter(|rounded| rounded.is_finite());
    rounded.map(|rounded| rounded.to_string()).ok_or_else(|| invalid(line, "a number of the workbook is not finite"))
}

fn date_or_time(value: &ExcelDateTime, line: u64) -> Result<Cell, Cause> {
    let (year, month, day, hour, minute, second, _) = value.to_ymd_hms_milli();
    // Within the first day, a value is a time; a duration is one of any length.
    if value.is_duration() || value.as_f64() < 1.0 {
        return Ok(Cell::Text(format!("{}:{minute:02}:{second:02}", value.as_f64().trunc() * 24.0 + f64::from(hour))));
    }
    let small = |number: u8| i8::try_from(number).ok();
    let date = || Date::new(i16::try_from(year).ok()?, small(month)?, small(day)?).ok();
    let time = || Some(date()?.at(small(hour)?, small(minute)?, small(second)?, 0));
    time().map(Cell::Date).ok_or_else(|| invalid(line, format!("{year}-{month}-{day} is no day of the calendar")))
}

fn iso_date(text: &str) -> Cell {
    let date_time = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(DateTime::from));
    date_time.map_or_else(|_| Cell::from_text(text), Cell::Date)
}

#[cfg(test)]
mod tests;
