//! Whether `03/04/2024` is in March or in April: a property of the column. One day above 12 decides it, and
//! the formats that match fewer cells are no candidates here. Among the others, the caller, the other columns of
//! the file, the order of the rows, the regularity of the days and the convention of the file decide, in this
//! sequence, and a note states how.

use std::collections::BTreeSet;

use jiff::civil::Date;

use super::DateSettings;
use super::format::Format;
use crate::tables::note::{Note, preview};

/// The order of the parts of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateOrder {
    /// `14/11/2024`
    DayFirst,
    /// `11/14/2024`
    MonthFirst,
    /// `2024/11/14`, `24/11/14`
    YearFirst,
}

/// Distinct days from which their order or their regularity is evidence.
const DAYS_MIN: usize = 3;
/// Additional years that leave no doubt about which part of a date is its year.
const YEARS_MANY: usize = 4;

/// The order that a format has; `None` for a format that states its parts.
pub(super) fn order_of(format: Format) -> Option<DateOrder> {
    match format {
        Format::DayFirst => Some(DateOrder::DayFirst),
        Format::MonthFirst => Some(DateOrder::MonthFirst),
        Format::ShortYearFirst => Some(DateOrder::YearFirst),
        Format::YearFirst
        | Format::YearMonth
        | Format::MonthYear
        | Format::Named
        | Format::NamedMonth
        | Format::Quarter
        | Format::Week
        | Format::Compact
        | Format::CompactMonth
        | Format::SpreadsheetDay
        | Format::UnixSeconds
        | Format::UnixMilliseconds => None,
    }
}

/// One reading of the days of a column.
struct Candidate {
    format: Format,
    dates: Vec<Date>,
    distinct: BTreeSet<Date>,
}

impl Candidate {
    fn new(format: Format, days: &[(u64, &str)]) -> Self {
        let dates: Vec<Date> = days.iter().filter_map(|(_, day)| format.parse(day, None)).collect();
        let distinct = dates.iter().copied().collect();
        Self { format, dates, distinct }
    }

    fn is_sorted(&self) -> bool {
        self.distinct.len() >= DAYS_MIN && (self.dates.is_sorted() || self.dates.iter().rev().is_sorted())
    }

    fn years(&self) -> usize {
        self.distinct.iter().map(|date| date.year()).collect::<BTreeSet<_>>().len()
    }

    /// True if the days are the first days of months at equal distances.
    fn is_monthly(&self) -> bool {
        let months: Vec<i32> =
            self.distinct.iter().map(|date| i32::from(date.year()) * 12 + i32::from(date.month())).collect();
        let steps: BTreeSet<i32> = months.array_windows::<2>().map(|[earlier, later]| later - earlier).collect();
        self.distinct.len() >= DAYS_MIN && steps.len() == 1 && self.distinct.iter().all(|date| date.day() == 1)
    }
}

/// Chooses among formats that match the same number of days.
pub(super) fn choose(
    name: &str,
    days: &[(u64, &str)],
    formats: &[Format],
    settings: &DateSettings,
) -> Option<(Format, Option<Note>)> {
    let all: Vec<Candidate> = formats.iter().map(|format| Candidate::new(*format, days)).collect();
    let first = all.first()?;
    if all.iter().all(|candidate| candidate.dates == first.dates) {
        return Some((first.format, None));
    }
    if let Some(stated) = all.iter().find(|candidate| order_of(candidate.format) == settings.order) {
        return Some((stated.format, None));
    }
    let of_file =
        all.iter().find(|candidate| settings.file_order.is_some_and(|order| order_of(candidate.format) == Some(order)));
    if let Some(candidate) = of_file {
        let reason = "the dates of another column of the file can only be read so";
        return Some((candidate.format, note(name, days, candidate, reason)));
    }
    // Where the year may be first, `31/10/24` has a year for each day of a month.
    let years = all.iter().map(Candidate::years).min().unwrap_or_default();
    let most_years = all.iter().map(Candidate::years).max().unwrap_or_default();
    let candidates: Vec<&Candidate> = match is_short_year(formats) {
        true => all.iter().filter(|candidate| candidate.years() == years).collect(),
        false => all.iter().collect(),
    };
    let only = |is_match: &dyn Fn(&Candidate) -> bool| {
        let mut matching = candidates.iter().copied().filter(|candidate| is_match(candidate));
        matching.next().filter(|_| matching.next().is_none())
    };
    let (chosen, reason) = if let [single] = candidates.as_slice() {
        if most_years >= years + YEARS_MANY {
            return Some((single.format, None));
        }
        (*single, "only so are its days in so few years".to_owned())
    } else if let Some(sorted) = only(&Candidate::is_sorted) {
        (sorted, "only so are its rows in the order of time".to_owned())
    } else if let Some(monthly) = only(&Candidate::is_monthly) {
        (monthly, "only so are its days the first days of months at equal distances".to_owned())
    } else {
        let preferred = if settings.has_semicolons { Format::DayFirst } else { Format::MonthFirst };
        let chosen = candidates.iter().copied().find(|candidate| candidate.format == preferred).unwrap_or(first);
        let usual = if settings.has_semicolons { ", as usual in files with semicolons" } else { "" };
        let undecided =
            format!("no day above 12 and no order of the rows decides between day-first and month-first{usual}");
        (chosen, undecided)
    };
    Some((chosen.format, note(name, days, chosen, &reason)))
}

fn is_short_year(formats: &[Format]) -> bool {
    formats.contains(&Format::ShortYearFirst)
}

/// States the choice, with the first day that another order would change.
fn note(name: &str, days: &[(u64, &str)], chosen: &Candidate, reason: &str) -> Option<Note> {
    let label = |order| match order {
        DateOrder::DayFirst => ("day-first", "day_first"),
        DateOrder::MonthFirst => ("month-first", "month_first"),
        DateOrder::YearFirst => ("year-first", "year_first"),
    };
    let order = order_of(chosen.format)?;
    let other = if order == DateOrder::DayFirst { DateOrder::MonthFirst } else { DateOrder::DayFirst };
    let (line, day) = days
        .iter()
        .find(|(_, day)| chosen.format.parse(day, None).is_some_and(|date| date.day() != 1))
        .or_else(|| days.first())?;
    let date = chosen.format.parse(day, None)?;
    let message = format!(
        "The dates of column {} are read {}, so {} in line {line} is {date}: {reason}. The input `date_order` with \
         `{}` reads them otherwise.",
        preview(name),
        label(order).0,
        preview(day),
        label(other).1
    );
    Some(Note::new(message).at_line(*line).in_column(name))
}

#[cfg(test)]
mod tests {
    use super::super::format::Format;
    use super::{DateSettings, choose};

    fn chosen(days: &[&str], has_semicolons: bool) -> (Format, String) {
        let days: Vec<(u64, &str)> = (2..).zip(days.iter().copied()).collect();
        let settings = DateSettings { has_semicolons, ..DateSettings::default() };
        let (format, note) = choose("Date", &days, &[Format::MonthFirst, Format::DayFirst], &settings).unwrap();
        (format, note.map(|note| note.message).unwrap_or_default())
    }

    #[test]
    fn a_year_of_first_days_is_no_january() {
        let uk: Vec<String> = (1..=12).map(|month| format!("01/{month:02}/2024")).collect();
        let uk: Vec<&str> = uk.iter().map(String::as_str).collect();
        let (format, note) = chosen(&uk, false);
        assert_eq!(format, Format::DayFirst);
        assert!(note.contains("day-first") && note.contains("first days of months"), "{note}");
        assert_eq!(chosen(&["10/01/2024", "11/01/2024", "12/01/2024"], true).0, Format::MonthFirst);
        assert_eq!(chosen(&["01/01/2024", "01/04/2024", "01/07/2024", "01/10/2024"], false).0, Format::DayFirst);
    }

    #[test]
    fn the_order_of_the_rows_decides() {
        let (format, note) = chosen(&["05/10/2024", "07/10/2024", "02/11/2024", "03/12/2024"], false);
        assert_eq!(format, Format::DayFirst);
        assert!(note.contains("order of time"), "{note}");
        assert_eq!(chosen(&["10/05/2024", "10/07/2024", "11/02/2024", "12/03/2024"], true).0, Format::MonthFirst);
        assert_eq!(chosen(&["12/03/2024", "11/02/2024", "10/07/2024", "10/05/2024"], true).0, Format::MonthFirst);
    }

    #[test]
    fn an_undecided_order_is_stated_with_the_choice() {
        let (format, note) = chosen(&["05/10/2024", "06/10/2024", "07/11/2024", "08/12/2024"], false);
        assert_eq!(format, Format::MonthFirst);
        assert!(note.contains("read month-first") && note.contains("\"05/10/2024\" in line 2 is 2024-05-10"), "{note}");
        assert!(note.contains("`day_first`"), "{note}");
        let (format, note) = chosen(&["05/10/2024", "06/10/2024", "07/11/2024", "08/12/2024"], true);
        assert_eq!(format, Format::DayFirst);
        assert!(note.contains("semicolons"), "{note}");
    }

    #[test]
    fn days_that_are_equal_in_every_order_need_no_note() {
        assert_eq!(chosen(&["05/05/2024", "06/06/2024"], false), (Format::MonthFirst, String::new()));
    }
}
