//! Questions about single cells and rows of a grid.

use std::borrow::Cow;

use super::figure::{Figure, Form, form_of};
use crate::tables::decimal::Decimal;
use crate::tables::grid::{Cell, GridRow};
use crate::tables::unit::Unit;

/// The text of a cell.
pub(super) fn text_of(cell: &Cell) -> Cow<'_, str> {
    match cell {
        Cell::Empty => Cow::Borrowed(""),
        Cell::Text(text) | Cell::Number(text) | Cell::Error(text) => Cow::Borrowed(text),
        Cell::Measured(number, Unit::Share(label)) => Cow::Owned(format!("{number}{label}")),
        Cell::Measured(number, unit) => Cow::Owned(format!("{number} {}", unit.label())),
        Cell::Boolean(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Cell::Date(at) if at.time() == jiff::civil::Time::midnight() => Cow::Owned(at.date().to_string()),
        Cell::Date(at) => Cow::Owned(at.to_string()),
    }
}

/// What a cell is, before its column is known. A typed number is never ambiguous.
pub(super) fn form(cell: &Cell) -> Form {
    match cell {
        Cell::Empty => Form::NoValue,
        Cell::Text(text) => form_of(text),
        Cell::Number(text) => Decimal::parse(text).map_or(Form::Words, |value| Form::Figure(Figure::plain(value))),
        Cell::Measured(text, unit) => Decimal::parse(text)
            .map_or(Form::Words, |value| Form::Figure(Figure { unit: Some(*unit), ..Figure::plain(value) })),
        Cell::Boolean(_) | Cell::Date(_) => Form::Words,
        Cell::Error(_) => Form::SheetError,
    }
}

/// Counts the cells up to the last one that is not empty.
pub(super) fn used_width(row: &GridRow) -> usize {
    row.cells.iter().rposition(|cell| *cell != Cell::Empty).map_or(0, |last| last + 1)
}

/// Counts the cells that are not empty.
pub(super) fn filled(row: &GridRow) -> usize {
    row.cells.iter().filter(|cell| **cell != Cell::Empty).count()
}
