//! What the cells of a row are, and of which kind the cells of a column are below a row.

use crate::tables::classify::cells::form;
use crate::tables::classify::figure::{Figure, Form};
use crate::tables::dates;
use crate::tables::grid::{Cell, GridRow};

use super::period::{self, PeriodForm};

/// The type of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellKind {
    Empty,
    Text,
    Figure,
    Date,
}

pub(super) fn kind_of(cell: &Cell) -> CellKind {
    match (form(cell), cell) {
        (Form::NoValue | Form::SheetError, _) => CellKind::Empty,
        (Form::Figure(_) | Form::Code, _) => CellKind::Figure,
        (Form::Words, Cell::Date(_)) => CellKind::Date,
        (Form::Words, Cell::Text(text)) if dates::looks_like_date(text) => CellKind::Date,
        (Form::Words, _) => CellKind::Text,
    }
}

/// How large a figure is, as far as names of periods have the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// Below 100, as two digits of a year and `1.2023` are.
    Small,
    /// Four digits, as a year has.
    FourDigits,
    /// Six digits, as `202401` has.
    SixDigits,
    /// Any other, and zero.
    Other,
}

fn size_of(cell: &Cell) -> Size {
    let Form::Figure(Figure { point, comma, .. }) = form(cell) else { return Size::Other };
    let Some(value) = point.or(comma).map(|value| value.to_f64().abs()) else { return Size::Other };
    let is_within = |low: f64, high: f64| value >= low && value < high;
    match value {
        _ if value > 0.0 && is_within(0.0, 100.0) => Size::Small,
        _ if is_within(1e3, 1e4) => Size::FourDigits,
        _ if is_within(1e5, 1e6) => Size::SixDigits,
        _ => Size::Other,
    }
}

/// How often each type occurs in a column below a candidate.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ColumnProfile {
    texts: usize,
    figures: usize,
    dates: usize,
    years: usize,
    months: usize,
    small: usize,
    four_digits: usize,
    six_digits: usize,
}

impl ColumnProfile {
    /// The profiles of the first `width` columns of rows.
    pub(super) fn of_columns(width: usize, body: &[&GridRow]) -> Vec<Self> {
        let mut profiles = vec![Self::default(); width];
        for below in body {
            for (profile, cell) in profiles.iter_mut().zip(&below.cells) {
                profile.count(cell);
            }
        }
        profiles
    }

    fn count(&mut self, cell: &Cell) {
        match kind_of(cell) {
            CellKind::Empty => {}
            CellKind::Text => self.texts += 1,
            CellKind::Date => self.dates += 1,
            CellKind::Figure => {
                self.figures += 1;
                match period::form_of(cell) {
                    Some(PeriodForm::Year) => self.years += 1,
                    Some(PeriodForm::MonthCode) => self.months += 1,
                    Some(PeriodForm::ShortYear | PeriodForm::DottedMonth) | None => {}
                }
                match size_of(cell) {
                    Size::Small => self.small += 1,
                    Size::FourDigits => self.four_digits += 1,
                    Size::SixDigits => self.six_digits += 1,
                    Size::Other => {}
                }
            }
        }
    }

    /// The cells that have a value.
    pub(super) fn filled(&self) -> usize {
        self.texts + self.figures + self.dates
    }

    /// The most frequent type.
    pub(super) fn kind(&self) -> CellKind {
        let count = self.texts.max(self.figures).max(self.dates);
        match count {
            0 => CellKind::Empty,
            _ if count == self.figures => CellKind::Figure,
            _ if count == self.dates => CellKind::Date,
            _ => CellKind::Text,
        }
    }

    /// True if most figures are periods of this form themselves.
    pub(super) fn has_mostly(&self, form: PeriodForm) -> bool {
        let same = match form {
            PeriodForm::Year => self.years,
            PeriodForm::MonthCode => self.months,
            PeriodForm::ShortYear | PeriodForm::DottedMonth => self.small,
        };
        same * 2 > self.figures
    }

    /// True if no figure has the size of a period of this form.
    pub(super) fn has_other_sizes(&self, form: PeriodForm) -> bool {
        let same = match form {
            PeriodForm::Year => self.four_digits,
            PeriodForm::MonthCode => self.six_digits,
            PeriodForm::ShortYear | PeriodForm::DottedMonth => self.small,
        };
        same == 0
    }
}
