//! Dates in the formats that people write, and the periods of a report.
//!
//! ```text
//! names     whether the name of a column promises dates
//! clock     text → day, time and zone
//! format    day → date (calendar, quarter, serial)
//! order     day or month first
//! parts     year, month and day in columns of their own
//! notes     what is reported about a column of dates
//! period    quarters and months of a report
//! ```
//!
//! The complete column decides its format. A column whose name promises dates and whose cells are none is
//! reported, and never a column of figures.

use std::collections::BTreeSet;

use jiff::civil::Date;

use super::grid::Cell;
use super::note::{Note, preview};

mod calendar;
mod clock;
mod format;
mod names;
mod notes;
mod order;
mod parts;
mod period;
mod quarter;
mod serial;
#[cfg(test)]
mod tests;

use clock::Moment;
use format::{FORMATS, Format, is_span_of_years};
use names::Promise;
pub use order::DateOrder;
pub(crate) use parts::{Joined, NamedPart, Part, Parts, join, named_part};
pub(crate) use period::{Period, PeriodKind};
pub(crate) use quarter::Quarter;
pub use quarter::{FiscalYear, NamedBy};

/// Percentage of dates above which a column has dates if its name promises them.
const PROMISED_PERCENT: usize = 50;
/// Percentage of dates from which any other column has dates; its other cells are invalid.
const OTHER_PERCENT: usize = 90;
/// Cells on which every format is tried; only formats that match one are tried on the column.
const SAMPLED_CELLS: usize = 500;

/// Digits of a number that may be a day, a week, a month or a year. Longer ones are figures, whatever their name.
const PERIOD_DIGITS_MAX: usize = 4;

/// What the caller states about dates, and what the file suggests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DateSettings {
    /// The order of day and month where the days of a column do not decide it, if the caller states it.
    pub(crate) order: Option<DateOrder>,
    /// The fiscal year, if the caller states it.
    pub(crate) fiscal_year: Option<FiscalYear>,
    /// The order that another column of the file has without doubt.
    pub(crate) file_order: Option<DateOrder>,
    /// True if semicolons separate the cells of the file, as usual where the day is first.
    pub(crate) has_semicolons: bool,
}

/// What a column is, as far as dates are concerned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DateVerdict {
    /// No dates.
    NotDates,
    /// Dates.
    Dates {
        /// One for each cell; `None` for a cell without a value.
        values: Vec<Option<Date>>,
        /// Choices that may be wrong.
        notes: Vec<Note>,
        /// The one of them about the order of day and month, if the days of the column do not decide it.
        order: Option<Note>,
    },
    /// The name promises dates, and the cells are none, or too few of them are: texts, which date no rows and are
    /// not added up.
    Undated {
        /// The reason.
        warning: Note,
    },
    /// Dates, with a cell that is none.
    Unreadable {
        /// Its line.
        line: u64,
        /// The cell, the column and the format of the others.
        message: String,
    },
}

/// Decides whether the cells of a column, each with its line, are dates, and reads them.
pub(crate) fn classify_date_column(name: &str, cells: &[(u64, &Cell)], settings: &DateSettings) -> DateVerdict {
    let promise = names::promise(name);
    if promise.is_none() && !has_dates_in_sample(cells, settings) {
        return DateVerdict::NotDates;
    }
    let column = Column::new(name, cells, *settings);
    let values = column.values.iter().filter(|(_, value)| *value != Value::Missing).count();
    let (format, order_note) = match column.best_format(promise) {
        Some((format, note)) => (Some(format), note),
        None => (None, None),
    };
    let dates = column.count(format);
    let percent_min = match promise {
        Some(Promise::Date | Promise::Period) => PROMISED_PERCENT,
        Some(Promise::Time) | None => OTHER_PERCENT - 1,
    };
    if values == 0 {
        return DateVerdict::NotDates;
    }
    if dates * 100 <= values * percent_min {
        let is_promised = match promise {
            Some(Promise::Date) => true,
            Some(Promise::Period) => column.may_be_periods(),
            Some(Promise::Time) | None => false,
        };
        let fiscal = column.days().filter(|(_, day)| is_fiscal_quarter(day)).count();
        let is_undated = is_promised || fiscal * 100 > values * PROMISED_PERCENT;
        // A name without a promise may still have dates with a few texts among them.
        return match is_undated || dates * 100 > values * PROMISED_PERCENT {
            true => DateVerdict::Undated { warning: column.undated(format, values, dates) },
            false => DateVerdict::NotDates,
        };
    }
    if let Some(unreadable) = column.first_unreadable(format) {
        return unreadable;
    }
    let mut notes: Vec<Note> = order_note.iter().cloned().collect();
    notes.extend(format.and_then(|format| column.format_note(format)));
    notes.extend(column.mixture_note());
    notes.extend(column.zones_note());
    let values = column.values.iter().map(|(_, value)| column.date(value, format)).collect();
    DateVerdict::Dates { values, notes, order: order_note }
}

/// The order of day and month that the columns of a file, each with its name and its cells, have without doubt; `None`
/// if none decides it, or if two of them differ.
pub(crate) fn order_of_file<'a>(
    columns: impl Iterator<Item = (&'a str, Vec<(u64, &'a Cell)>)>,
    settings: &DateSettings,
) -> Option<DateOrder> {
    let decided = columns.filter_map(|(name, cells)| decided_order(name, &cells, settings));
    let orders: Vec<DateOrder> = decided.collect();
    let first = orders.first().copied()?;
    orders.iter().all(|order| *order == first).then_some(first)
}

/// The order of the dates of a column, if no other one reads as many of its cells.
fn decided_order(name: &str, cells: &[(u64, &Cell)], settings: &DateSettings) -> Option<DateOrder> {
    if !has_dates_in_sample(cells, settings) {
        return None;
    }
    let column = Column::new(name, cells, *settings);
    let tied = column.tied_formats(names::promise(name));
    let [format] = tied.as_slice() else { return None };
    let is_complete = column.first_unreadable(Some(*format)).is_none();
    order::order_of(*format).filter(|order| is_complete && *order != DateOrder::YearFirst)
}

/// True if a text is a date that does not look like a plain number.
pub(crate) fn looks_like_date(text: &str) -> bool {
    let day = clock::split(text).day;
    let is_date = |format: &Format| !format.is_numeric() && format.parse(&day, None).is_some();
    FORMATS.iter().any(is_date) || Quarter::parse(&day).is_some()
}

fn has_dates_in_sample(cells: &[(u64, &Cell)], settings: &DateSettings) -> bool {
    let mut filled = cells.iter().filter(|(_, cell)| **cell != Cell::Empty).take(SAMPLED_CELLS);
    filled.any(|(_, cell)| match cell {
        Cell::Date(_) => true,
        Cell::Text(text) => {
            let day = clock::split(text).day;
            let is_date = |format: &Format| !format.is_numeric() && format.parse(&day, settings.fiscal_year).is_some();
            FORMATS.iter().any(is_date) || is_fiscal_quarter(&day)
        }
        Cell::Empty | Cell::Number(_) | Cell::Measured(..) | Cell::Boolean(_) | Cell::Error(_) => false,
    })
}

fn is_fiscal_quarter(day: &str) -> bool {
    Quarter::parse(day).is_some_and(Quarter::is_fiscal)
}

/// The value of one cell.
#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    /// No value: empty, a mark such as `n/a`, or an error of a workbook.
    Missing,
    /// A date that the file types.
    Typed(Date),
    /// A text or a number.
    Text(&'a str, Moment<'a>),
    /// A value that is never a date.
    Other,
}

/// A column whose cells are split into day and time.
struct Column<'a> {
    name: &'a str,
    settings: DateSettings,
    values: Vec<(u64, Value<'a>)>,
}

impl<'a> Column<'a> {
    fn new(name: &'a str, cells: &[(u64, &'a Cell)], settings: DateSettings) -> Self {
        let value = |cell: &'a Cell| match cell {
            Cell::Empty | Cell::Error(_) => Value::Missing,
            Cell::Text(text) if is_missing(text) => Value::Missing,
            Cell::Text(text) | Cell::Number(text) => Value::Text(text, clock::split(text)),
            Cell::Date(date) => Value::Typed(date.date()),
            Cell::Measured(..) | Cell::Boolean(_) => Value::Other,
        };
        Self { name, settings, values: cells.iter().map(|(line, cell)| (*line, value(cell))).collect() }
    }

    /// The texts of the days, with their lines.
    fn days(&self) -> impl Iterator<Item = (u64, &str)> {
        self.values.iter().filter_map(|(line, value)| match value {
            Value::Text(_, moment) => Some((*line, &*moment.day)),
            Value::Missing | Value::Typed(_) | Value::Other => None,
        })
    }

    fn parse(&self, day: &str, format: Format) -> Option<Date> {
        format.parse(day, self.settings.fiscal_year)
    }

    fn date(&self, value: &Value<'_>, format: Option<Format>) -> Option<Date> {
        match value {
            Value::Typed(date) => Some(*date),
            Value::Text(_, moment) => self.parse(&moment.day, format?),
            Value::Missing | Value::Other => None,
        }
    }

    /// How many cells are dates in this format.
    fn count(&self, format: Option<Format>) -> usize {
        self.values.iter().filter(|(_, value)| self.date(value, format).is_some()).count()
    }

    /// The format that matches the most cells, with a note about the order of day and month.
    fn best_format(&self, promise: Option<Promise>) -> Option<(Format, Option<Note>)> {
        let tied = self.tied_formats(promise);
        let ordered: Vec<Format> = tied.iter().copied().filter(|format| order::order_of(*format).is_some()).collect();
        if ordered.len() < 2 {
            return tied.first().map(|format| (*format, None));
        }
        let days: Vec<(u64, &str)> = self.days().collect();
        order::choose(self.name, &days, &ordered, &self.settings)
    }

    /// The formats that match the most cells, in the order of preference.
    fn tied_formats(&self, promise: Option<Promise>) -> Vec<Format> {
        let is_allowed = |format: &Format| match promise {
            Some(Promise::Date | Promise::Period) => true,
            // Such a number may be a duration.
            Some(Promise::Time) => *format != Format::SpreadsheetDay,
            None => !format.is_numeric(),
        };
        let has_spans = self.has_spans_of_years();
        let is_allowed = |format: &Format| is_allowed(format) && !(has_spans && *format == Format::YearMonth);
        let is_in_sample =
            |format: &Format| self.days().take(SAMPLED_CELLS).any(|(_, day)| self.parse(day, *format).is_some());
        let counts: Vec<(Format, usize)> = FORMATS
            .into_iter()
            .filter(|format| is_allowed(format) && is_in_sample(format))
            .map(|format| (format, self.days().filter(|(_, day)| self.parse(day, format).is_some()).count()))
            .collect();
        let best = counts.iter().map(|(_, count)| *count).max().unwrap_or_default();
        counts.iter().filter(|(_, count)| *count == best).map(|(format, _)| *format).collect()
    }

    /// True if what could be months are spans of years: `2010/11` and `2011/12` each name a year and the next one. A single
    /// one is a span if the name of the column is that of a year.
    fn has_spans_of_years(&self) -> bool {
        let months = self.days().filter(|(_, day)| self.parse(day, Format::YearMonth).is_some());
        let distinct: BTreeSet<&str> = months.map(|(_, day)| day).collect();
        let is_year = || named_part(self.name).is_some_and(|named| named.part == Part::Year);
        distinct.iter().all(|day| is_span_of_years(day)) && (distinct.len() > 1 || (distinct.len() == 1 && is_year()))
    }

    fn first_unreadable(&self, format: Option<Format>) -> Option<DateVerdict> {
        let is_unreadable = |value: &Value<'_>| *value != Value::Missing && self.date(value, format).is_none();
        let (line, value) = self.values.iter().find(|(_, value)| is_unreadable(value))?;
        let text = match value {
            Value::Text(text, _) => preview(text),
            Value::Missing | Value::Typed(_) | Value::Other => "an amount or a truth value".to_owned(),
        };
        let example = format.and_then(|format| self.example(format)).map(|(line, text, _)| {
            let order = match format.and_then(order::order_of) {
                Some(DateOrder::DayFirst) => ", day-first,",
                Some(DateOrder::MonthFirst) => ", month-first,",
                Some(DateOrder::YearFirst) => ", year-first,",
                None => "",
            };
            format!(" like {}{order} in line {line}", preview(text))
        });
        let message = format!("{text} in column {} is not a date{}", preview(self.name), example.unwrap_or_default());
        Some(DateVerdict::Unreadable { line: *line, message })
    }

    /// True if no number of the column has too many digits to be a day, a week, a month or a year. A text that has
    /// several numbers, such as a range of days, is no figure.
    fn may_be_periods(&self) -> bool {
        let is_figure = |text: &str| {
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            let amount = text.trim_start_matches(['-', '−', '+', ' ']).trim_end_matches(['-', ' ']);
            let is_text = |c: char| c.is_alphabetic() || matches!(c, '/' | '-' | '–' | '—' | ':');
            digits > PERIOD_DIGITS_MAX && !amount.contains(is_text)
        };
        !self.values.iter().any(|(_, value)| match value {
            Value::Text(text, _) => is_figure(text),
            Value::Missing | Value::Typed(_) | Value::Other => false,
        })
    }

    /// The first cell with a date of this format.
    fn example(&self, format: Format) -> Option<(u64, &str, Date)> {
        self.values.iter().find_map(|(line, value)| match value {
            Value::Text(text, moment) => Some((*line, *text, self.parse(&moment.day, format)?)),
            Value::Missing | Value::Typed(_) | Value::Other => None,
        })
    }
}

/// True if the text is a mark for a missing value.
fn is_missing(text: &str) -> bool {
    const MARKS: [&str; 11] = ["-", "–", "—", "n/a", "na", "null", "none", "nan", "#n/a", "nil", "?"];
    MARKS.iter().any(|mark| text.eq_ignore_ascii_case(mark))
}
