//! Numbers that name columns: years and months in every form that looks like a figure, and series by one.

use super::profile::ColumnProfile;
use crate::tables::decimal::Decimal;
use crate::tables::grid::Cell;

/// Numbers that follow each other by one, from which they may be names of columns.
const SERIES_MIN: usize = 3;
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
struct Period {
    form: PeriodForm,
    year: i64,
    /// From 1; 0 for a year.
    month: i64,
}

/// What numbers of a row are, over columns of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberRole {
    /// Figures.
    Figures,
    /// Years or months that name the columns.
    Periods,
    /// Numbers that follow each other, such as `1`, `2` and `3`: names, unless a better header is above them.
    Series,
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
fn plain_integer(cell: &Cell) -> Option<i64> {
    text_of_number(cell).filter(|number| Decimal::parse(number).is_some()).and_then(digits)
}

fn year(text: &str) -> Option<i64> {
    digits(text).filter(|year| YEARS.contains(year))
}

fn month(text: &str) -> Option<i64> {
    digits(text).filter(|month| text.len() <= 2 && (1..=12).contains(month))
}

fn period(cell: &Cell) -> Option<Period> {
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

/// Decides whether the numbers of a row, over columns of numbers, name these columns. `has_label` is true if
/// another cell of the row is a name: it differs from every cell below it.
pub(super) fn role_of(numbers: &[(&Cell, &ColumnProfile)], has_label: bool) -> NumberRole {
    if are_periods(numbers, has_label) {
        return NumberRole::Periods;
    }
    let integers: Option<Vec<i64>> = numbers.iter().map(|(cell, _)| plain_integer(cell)).collect();
    let is_series = integers.is_some_and(|integers| integers.len() >= SERIES_MIN && is_stepwise(&integers));
    if is_series { NumberRole::Series } else { NumberRole::Figures }
}

fn are_periods(numbers: &[(&Cell, &ColumnProfile)], has_label: bool) -> bool {
    let Some(periods) = numbers.iter().map(|(cell, _)| period(cell)).collect::<Option<Vec<Period>>>() else {
        return false;
    };
    let Some(first) = periods.first() else { return false };
    // `2024`, `2024.1` are two columns of one year.
    let is_mixed = periods.iter().any(|period| period.form != first.form);
    if is_mixed && periods.iter().any(|period| !matches!(period.form, PeriodForm::Year | PeriodForm::DottedMonth)) {
        return false;
    }
    let form = if is_mixed { PeriodForm::Year } else { first.form };
    let point = |period: &Period| match form {
        PeriodForm::Year | PeriodForm::ShortYear => period.year,
        PeriodForm::MonthCode | PeriodForm::DottedMonth => period.year * 12 + period.month,
    };
    let points: Vec<i64> = periods.iter().map(point).collect();
    let has_other_figures = numbers.iter().all(|(_, profile)| !profile.has_mostly(form));
    let has_other_sizes = numbers.iter().all(|(_, profile)| profile.has_other_sizes(form));
    // In any order and repeated, as `2023`, `2023`, `2024`, `2024` are.
    let is_run = has_other_figures && is_run(&points) && (has_label || has_other_sizes);
    let is_likely = has_label && has_other_sizes;
    match form {
        // Consecutive years name columns even of figures that look like years.
        PeriodForm::Year => {
            (points.len() > 1 && is_stepwise(&points) && !is_mixed)
                || (has_other_figures && is_ordered(&points))
                || is_run
                || is_likely
        }
        PeriodForm::MonthCode => is_likely || (points.len() > 1 && (is_run || (has_label && has_other_figures))),
        PeriodForm::DottedMonth => points.len() > 1 && is_run,
        PeriodForm::ShortYear => points.len() > 1 && is_stepwise(&points) && is_likely,
    }
}

/// True if the numbers only increase, or only decrease.
fn is_ordered(numbers: &[i64]) -> bool {
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return false };
    numbers.windows(2).all(|pair| matches!(pair, [a, b] if (a < b) == (first < last) && a != b))
}

/// True if the numbers increase by one, or decrease by one.
fn is_stepwise(numbers: &[i64]) -> bool {
    is_ordered(numbers) && numbers.windows(2).all(|pair| matches!(pair, [a, b] if (b - a).abs() == 1))
}

/// True if several numbers, in any order and repeated, have no gap.
fn is_run(numbers: &[i64]) -> bool {
    let distinct: std::collections::BTreeSet<i64> = numbers.iter().copied().collect();
    let span = distinct.first().zip(distinct.last()).map_or(0, |(first, last)| last - first);
    numbers.len() > 1 && usize::try_from(span).is_ok_and(|span| span + 1 == distinct.len())
}
