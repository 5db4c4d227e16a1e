//! Numbers that may be years or months, in every form that looks like a figure.

use crate::tables::decimal::Decimal;
use crate::tables::grid::Cell;

/// Years that may be names of columns.
const YEARS: std::ops::RangeInclusive<i64> = 1950..=2060;

/// How a period is written as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeriodForm {
    /// `2024`
    Year,
    /// `24`
    ShortYear,
    /// `202401`
    MonthCode,
    /// `1.2024`, `2024.1`. The latter is also what programs call the second of two columns `2024`.
    DottedMonth,
}

/// A period that a number may name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Period {
    /// How it is written.
    pub(super) form: PeriodForm,
    /// The year, with its century.
    pub(super) year: i64,
    /// From 1; 0 for a year.
    pub(super) month: i64,
}

fn text_of_number(cell: &Cell) -> Option<&str> {
    let (Cell::Text(text) | Cell::Number(text)) = cell else { return None };
    let text = text.trim();
    // `2024.0` is what a program writes that stores whole numbers as fractions.
    let whole = text.split_once('.').filter(|(_, after)| !after.is_empty() && after.bytes().all(|byte| byte == b'0'));
    Some(whole.map_or(text, |(before, _)| before))
}

fn digits(text: &str) -> Option<i64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

/// A whole number without any mark.
pub(super) fn plain_integer(cell: &Cell) -> Option<i64> {
    text_of_number(cell).filter(|number| Decimal::parse(number).is_some()).and_then(digits)
}

fn year(text: &str) -> Option<i64> {
    digits(text).filter(|year| YEARS.contains(year))
}

fn month(text: &str) -> Option<i64> {
    digits(text).filter(|month| text.len() <= 2 && (1..=12).contains(month))
}

/// The period that a number may name.
pub(super) fn period(cell: &Cell) -> Option<Period> {
    const TWENTIETH_CENTURY_FROM: i64 = 61;
    let text = text_of_number(cell)?;
    if let Some((before, after)) = text.split_once('.') {
        let (year, month) = year(before).zip(month(after)).or_else(|| year(after).zip(month(before)))?;
        return Some(Period { form: PeriodForm::DottedMonth, year, month });
    }
    match text.len() {
        2 => {
            let short = digits(text)?;
            let century = if short >= TWENTIETH_CENTURY_FROM { 1900 } else { 2000 };
            Some(Period { form: PeriodForm::ShortYear, year: century + short, month: 0 })
        }
        6 => {
            let (first, last) = text.split_at_checked(4)?;
            Some(Period { form: PeriodForm::MonthCode, year: year(first)?, month: month(last)? })
        }
        _ => Some(Period { form: PeriodForm::Year, year: year(text)?, month: 0 }),
    }
}

/// The form in which a number may name a period.
pub(super) fn form_of(cell: &Cell) -> Option<PeriodForm> {
    period(cell).map(|period| period.form)
}

/// True if the cell is a year or a month that is written as a number, and hardly anything else.
pub(super) fn is_period(cell: &Cell) -> bool {
    form_of(cell).is_some_and(|form| form != PeriodForm::ShortYear)
}
