//! The cells of one sheet of a workbook.
//!
//! They are read one after the other. The ranges of the library have a cell for each position between the first
//! and the last one, which two cells of a small file can make larger than the memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use calamine::{DataRef, ExcelDateTime, Style, Xlsx, XlsxError};
use greenroom_protocol::Cause;
use jiff::civil::{Date, DateTime};

use super::format_code::{self, Shown};
use crate::tables::decimal::Decimal;
use crate::tables::grid::{COLUMNS_MAX, Cell, GridRow, RowCollector, too_large};
use crate::tables::note::{Note, invalid, unreadable};
use crate::tables::unit::Unit;

/// What a cell has whose formula was never calculated; programs that only write workbooks leave it so.
const NOT_CALCULATED: &str = "formula without a value";
/// Built-in number formats that show `$`; the library knows the codes of the others.
const DOLLAR_FORMATS: std::ops::RangeInclusive<u32> = 5..=8;

pub(super) type Workbook<'a> = Xlsx<Cursor<&'a [u8]>>;

/// The cells of one sheet.
pub(super) struct SheetContent {
    /// Its name.
    pub(super) name: String,
    /// Its rows, equally wide.
    pub(super) rows: Vec<GridRow>,
    /// The column of the sheet, from 0, in which the rows begin.
    pub(super) first_column: usize,
    /// How the cells were read, as far as another reading was possible.
    pub(super) notes: Vec<Note>,
}

impl SheetContent {
    /// True if a row after the first has a figure.
    pub(super) fn has_figures(&self) -> bool {
        let is_figure = |cell: &Cell| match cell {
            Cell::Number(_) | Cell::Measured(..) => true,
            Cell::Text(text) => text.bytes().any(|byte| byte.is_ascii_digit()),
            Cell::Empty | Cell::Boolean(_) | Cell::Date(_) | Cell::Error(_) => false,
        };
        self.rows.iter().skip(1).any(|row| row.cells.iter().any(is_figure))
    }
}

/// The error for a workbook that the library cannot read.
pub(super) fn damaged(error: &XlsxError) -> Cause {
    unreadable(format!("the workbook is damaged or not complete: {error}"))
}

/// Reads the cells of a sheet.
///
/// # Errors
/// `invalid_data` if they cannot be read; `payload_too_large` beyond the bounds of a table.
pub(super) fn read_cells(workbook: &mut Workbook<'_>, name: &str) -> Result<SheetContent, Cause> {
    let not_calculated = find_not_calculated(workbook, name)?;
    let mut reader = workbook.worksheet_cells_reader(name).map_err(|error| damaged(&error))?;
    let formats: Vec<Shown> = reader.styles().iter().map(shown_by).collect();
    let mut shown_notes = ShownNotes::default();
    let mut rows = RowCollector::default();
    let mut row = GridRow { line: 0, cells: Vec::new() };
    let (mut first_column, mut width) = (usize::MAX, 0);
    while let Some((found, style)) = reader.next_cell_with_style_id().map_err(|error| damaged(&error))? {
        let position = found.get_position();
        let (line, column) = (u64::from(position.0) + 1, usize::try_from(position.1).unwrap_or(usize::MAX));
        let plain = match not_calculated.contains(&position) {
            true => Cell::Error(NOT_CALCULATED.to_owned()),
            false => to_cell(found.get_value(), line)?,
        };
        if plain == Cell::Empty {
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
        let display = formats.get(style).copied().unwrap_or_default();
        if let Some(target) = row.cells.get_mut(column) {
            *target = shown_notes.apply(plain, display, line, column);
        }
    }
    rows.push(row.line, row.cells)?;
    // A sheet has no end of a row, and its table may begin in any column.
    let mut rows = rows.into_padded_rows(width)?;
    for row in &mut rows {
        row.cells.drain(..first_column.min(row.cells.len()));
    }
    let notes = not_calculated_note(&not_calculated).into_iter().chain(shown_notes.into_notes()).collect();
    Ok(SheetContent { name: name.to_owned(), rows, first_column, notes })
}

/// The positions of the formulas without a stored value.
fn find_not_calculated(workbook: &mut Workbook<'_>, name: &str) -> Result<BTreeSet<(u32, u32)>, Cause> {
    let mut reader = workbook.worksheet_cells_reader(name).map_err(|error| damaged(&error))?;
    let mut positions = BTreeSet::new();
    while let Some(found) = reader.next_cell_with_formula_metadata().map_err(|error| damaged(&error))? {
        if found.value == DataRef::Empty && found.formula.is_some() {
            positions.insert(found.pos);
        }
    }
    Ok(positions)
}

fn not_calculated_note(positions: &BTreeSet<(u32, u32)>) -> Option<Note> {
    let (row, column) = positions.first()?;
    let (line, column) = (u64::from(*row) + 1, usize::try_from(*column).unwrap_or(usize::MAX));
    let message = format!(
        "{} cells, the first of them {}{line} in line {line}, have a formula without a stored value; open the workbook \
         in a spreadsheet program and save it, so that they have one.",
        positions.len(),
        column_letters(column)
    );
    Some(Note::new(message).at_line(line))
}

/// What the number format of a style shows.
fn shown_by(style: &Style) -> Shown {
    match &style.number_format {
        Some(format) if format.format_id.is_some_and(|id| DOLLAR_FORMATS.contains(&id)) => {
            format_code::parse(if format.format_code == "General" { "$0" } else { &format.format_code })
        }
        Some(format) => format_code::parse(&format.format_code),
        None => Shown::default(),
    }
}

/// The notes about figures that are read as their number format shows them: the first cell of each sort.
#[derive(Default)]
struct ShownNotes(BTreeMap<String, Note>);

impl ShownNotes {
    /// The cell as its number format shows it. Only a number has one.
    fn apply(&mut self, cell: Cell, display: Shown, line: u64, column: usize) -> Cell {
        let Cell::Number(digits) = &cell else { return cell };
        let position = || format!("{}{line} in line {line}", column_letters(column));
        if display.padding > digits.len() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let code = format!("{digits:0>width$}", width = display.padding);
            self.note("padding".to_owned(), line, || {
                format!("The workbook shows leading zeros, so {} is read as the code {code}.", position())
            });
            return Cell::Text(code);
        }
        let value = match display.power {
            0 => digits.clone(),
            power => match Decimal::parse(&format!("{digits}e{power}")) {
                Some(value) => value.to_string(),
                None => return cell,
            },
        };
        if display.is_divided {
            self.note("divided".to_owned(), line, || {
                format!(
                    "The workbook shows figures divided by a thousand or more, such as {}; they are counted in full.",
                    position()
                )
            });
        }
        let Some(unit) = display.unit else {
            if display.power != 0 {
                self.note("scale".to_owned(), line, || {
                    format!(
                        "The workbook shows a word such as `Mio` after {}, so {digits} is read as {value}.",
                        position()
                    )
                });
            }
            return Cell::Number(value);
        };
        self.note(format!("unit {}", unit.label()), line, || match unit {
            Unit::Share(label) => format!("The workbook shows {} as {value}{label}, and so it is read.", position()),
            Unit::Currency(label) | Unit::Other(label) => {
                format!("The workbook shows {} with the unit {label}, so it is read as {value} {label}.", position())
            }
        });
        Cell::Measured(value, unit)
    }

    fn note(&mut self, sort: String, line: u64, message: impl FnOnce() -> String) {
        self.0.entry(sort).or_insert_with(|| Note::new(message()).at_line(line));
    }

    fn into_notes(self) -> impl Iterator<Item = Note> {
        self.0.into_values()
    }
}

/// `0` → `A`, `27` → `AB`
pub(super) fn column_letters(index: usize) -> String {
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
