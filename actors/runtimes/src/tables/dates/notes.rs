//! What is reported about a column of dates: how it was read where its cells can be read otherwise, and why it
//! dates no rows.

use std::collections::BTreeSet;

use super::format::Format;
use super::{Column, Value, is_fiscal_quarter};
use crate::tables::grid::list;
use crate::tables::note::{Note, preview};

impl Column<'_> {
    /// The reason why the column dates no rows, if `dates` of its `values` are dates of the best format.
    pub(super) fn undated(&self, format: Option<Format>, values: usize, dates: usize) -> Note {
        let name = preview(self.name);
        let fiscal = self.days().find(|(_, day)| is_fiscal_quarter(day));
        let is_text = |value: &Value<'_>| matches!(value, Value::Text(..)) && self.date(value, format).is_none();
        let first = self.values.iter().find(|(_, value)| is_text(value)).and_then(|(line, value)| match value {
            Value::Text(text, _) => Some((*line, *text)),
            Value::Missing | Value::Typed(_) | Value::Other => None,
        });
        let (line, message) = match (fiscal, first) {
            (Some((line, day)), _) if self.settings.fiscal_year.is_none() => {
                let message = format!(
                    "Column {name} has quarters of a fiscal year, such as {} in line {line}, and the month in which \
                     the year begins is not known; the input `fiscal_year_start` states it, such as 10 for October. \
                     Without it, the column dates no rows and is read as text.",
                    preview(day)
                );
                (Some(line), message)
            }
            (_, Some((line, text))) if dates > 0 => {
                let message = format!(
                    "Column {name} has {dates} dates among {values} values; {} in line {line} is not one. It dates no \
                     rows, and is read as text and not added up.",
                    preview(text)
                );
                (Some(line), message)
            }
            (_, Some((line, text))) => {
                let message = format!(
                    "Column {name} is named like a date, and its cells, such as {} in line {line}, are no complete \
                     dates; it dates no rows, and is read as text and not added up.",
                    preview(text)
                );
                (Some(line), message)
            }
            (_, None) => (None, format!("Column {name} is named like a date, and its cells are no dates.")),
        };
        let note = Note::new(message).in_column(self.name);
        match line {
            Some(line) => note.at_line(line),
            None => note,
        }
    }

    /// States how a format was read, where its cells can be read otherwise.
    pub(super) fn format_note(&self, format: Format) -> Option<Note> {
        let (line, text, date) = self.example(format)?;
        let has_short_year = text.bytes().filter(u8::is_ascii_digit).count() < 4;
        let reading = match format {
            Format::SpreadsheetDay => "the days of a spreadsheet, which counts from 1900",
            Format::UnixSeconds => "seconds since 1970 in UTC",
            Format::UnixMilliseconds => "milliseconds since 1970 in UTC",
            Format::CompactMonth => "year and month",
            Format::Week => "weeks of ISO 8601, each of which counts on its Thursday",
            Format::NamedMonth if has_short_year => "month and year",
            Format::Quarter if self.days().any(|(_, day)| is_fiscal_quarter(day)) => {
                match self.settings.fiscal_year.map(|year| year.first_month) {
                    Some(1 | 4 | 7 | 10) | None => {
                        "quarters of the stated fiscal year, each of which counts on its first day"
                    }
                    Some(_) => {
                        "quarters of the stated fiscal year, which cross the quarters of the calendar; each counts on its \
                         first day"
                    }
                }
            }
            Format::YearFirst
            | Format::DayFirst
            | Format::MonthFirst
            | Format::ShortYearFirst
            | Format::YearMonth
            | Format::MonthYear
            | Format::Named
            | Format::NamedMonth
            | Format::Quarter
            | Format::Compact => return None,
        };
        let message =
            format!("Column {} is read as {reading}: {} in line {line} is {date}.", preview(self.name), preview(text));
        Some(Note::new(message).at_line(line).in_column(self.name))
    }

    /// A workbook with texts among its dates was often made with another order of day and month.
    pub(super) fn mixture_note(&self) -> Option<Note> {
        let typed = self.values.iter().filter(|(_, value)| matches!(value, Value::Typed(_))).count();
        let (line, text) = self.values.iter().find_map(|(line, value)| match value {
            Value::Text(text, _) => Some((*line, *text)),
            Value::Missing | Value::Typed(_) | Value::Other => None,
        })?;
        if typed == 0 {
            return None;
        }
        let message = format!(
            "Column {} has {typed} dates of the workbook, and texts such as {} in line {line}. A program that took them \
             for another order of day and month may have swapped both in the {typed} dates.",
            preview(self.name),
            preview(text)
        );
        Some(Note::new(message).at_line(line).in_column(self.name))
    }

    pub(super) fn zones_note(&self) -> Option<Note> {
        let zones: BTreeSet<&str> = self
            .values
            .iter()
            .filter_map(|(_, value)| match value {
                Value::Text(_, moment) => moment.zone.as_deref(),
                Value::Missing | Value::Typed(_) | Value::Other => None,
            })
            .collect();
        if zones.len() < 2 {
            return None;
        }
        let zones = list(zones);
        let message = format!(
            "The times of column {} have the zones {zones}; a row counts on its day as written.",
            preview(self.name)
        );
        Some(Note::new(message).in_column(self.name))
    }
}
