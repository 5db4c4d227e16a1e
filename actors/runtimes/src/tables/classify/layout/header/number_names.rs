//! Numbers that name columns: years and months, and series by one.

use std::collections::BTreeSet;

use super::period::{Period, PeriodForm, period, plain_integer};
use super::profile::ColumnProfile;
use crate::tables::grid::Cell;

/// Numbers that follow each other by one, from which they may be names of columns.
const SERIES_MIN: usize = 3;

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
    let distinct: BTreeSet<i64> = numbers.iter().copied().collect();
    let span = distinct.first().zip(distinct.last()).map_or(0, |(first, last)| last - first);
    numbers.len() > 1 && usize::try_from(span).is_ok_and(|span| span + 1 == distinct.len())
}
