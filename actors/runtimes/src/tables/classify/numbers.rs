//! A column that is decided to be numbers → its values and units, in the notation of the column.

use greenroom_protocol::Cause;

use super::cells::{form, text_of};
use super::evidence::{ColumnCell, Evidence};
use super::figure::Form;
use super::notation::Notation;
use crate::tables::decimal::Decimal;
use crate::tables::note::{invalid, preview};
use crate::tables::unit::Unit;

/// The values of a column, one for each row.
#[derive(Debug)]
pub(super) struct Numbers {
    /// The index of the column.
    pub(super) column: usize,
    /// The values.
    pub(super) values: Vec<Option<Decimal>>,
    /// The unit of each value; none if no cell of the column has a unit.
    pub(super) units: Vec<Option<Unit>>,
}

impl Numbers {
    /// Retains the rows for which the mask is true.
    pub(super) fn retain(&mut self, data: &[bool]) {
        retain(&mut self.values, data);
        retain(&mut self.units, data);
    }
}

/// Retains the items at whose position the mask is true.
pub(super) fn retain<T>(items: &mut Vec<T>, data: &[bool]) {
    let mut mask = data.iter();
    items.retain(|_| mask.next().copied().unwrap_or(true));
}

/// How the cells of a column are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    /// The index of the column.
    pub(super) column: usize,
    /// Its name.
    pub(super) name: &'a str,
    /// Its notation.
    pub(super) notation: Notation,
    /// True if a cell that is no figure counts as no value.
    pub(super) skips_exceptions: bool,
}

/// Reads the cells of a column; `labelled` marks the rows that may be totals, whose texts are no errors.
///
/// # Errors
/// `invalid_data` with the line of a figure that is not written in the notation of the column, or that is no
/// figure at all.
pub(super) fn read<'a>(
    reading: Reading<'_>,
    cells: impl Iterator<Item = (ColumnCell<'a>, bool)>,
) -> Result<Numbers, Cause> {
    let Reading { column, name, notation, skips_exceptions } = reading;
    let mut numbers = Numbers { column, values: Vec::new(), units: Vec::new() };
    for (ColumnCell { line, cell }, is_labelled) in cells {
        let (value, unit) = match form(cell) {
            Form::NoValue | Form::SheetError => (None, None),
            Form::Figure(figure) => match notation.value(&figure) {
                Some(value) => (Some(value), figure.unit),
                None if is_labelled => (None, None),
                None => return Err(other_notation(line, name, &text_of(cell), notation)),
            },
            Form::Code | Form::Words if is_labelled || skips_exceptions => (None, None),
            Form::Code | Form::Words => {
                let message = format!("{} in column {} is not a number", preview(&text_of(cell)), preview(name));
                return Err(invalid(line, message));
            }
        };
        numbers.values.push(value);
        numbers.units.push(unit);
    }
    if numbers.units.iter().all(Option::is_none) {
        numbers.units.clear();
    }
    Ok(numbers)
}

fn other_notation(line: u64, name: &str, text: &str, notation: Notation) -> Cause {
    let message = format!(
        "{} in column {} is not written as the other figures of the column, with {}; write all figures of a column alike",
        preview(text),
        preview(name),
        notation.describe()
    );
    invalid(line, message)
}

/// The error for a column whose figures could be read in either notation, and contradict each other.
pub(super) fn contradicting(name: &str, evidence: &Evidence) -> Option<Cause> {
    let (line, text) = evidence.marks.contradiction()?;
    let message = format!(
        "column {} has figures with a comma and figures with a point, such as {}, and none of them shows which of the two is \
         decimal; state it with the input `decimal_mark`, or write all figures of a column alike",
        preview(name),
        preview(text)
    );
    Some(invalid(line, message))
}
