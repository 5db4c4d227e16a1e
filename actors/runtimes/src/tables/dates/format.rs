//! The formats of dates. Each format parses the text of a day; the column decides which format it has.

use jiff::civil::Date;

use super::calendar::{date, expand_year, month_named, parse_small, parse_year};
use super::quarter::{FiscalYear, Quarter, parse_week};
use super::serial;

/// The format of the dates of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `2024-11-14`, `2024/11/14`
    YearFirst,
    /// `14.11.2024`, `14/11/2024`, `14-11-24`
    DayFirst,
    /// `11/14/2024`
    MonthFirst,
    /// `24-11-14`
    ShortYearFirst,
    /// `2024-11`, `2024/11`, `2024M11`
    YearMonth,
    /// `11/2024`
    MonthYear,
    /// `14 Nov 2024`, `Nov 14, 2024`, `14-Nov-24`
    Named,
    /// `November 2024`, `Nov-24`
    NamedMonth,
    /// `Q4 2024`, and `FY24 Q1` if the fiscal year is known.
    Quarter,
    /// `2024-W46`
    Week,
    /// `20241114`
    Compact,
    /// `202411`
    CompactMonth,
    /// Days since 1900, as spreadsheets count them.
    SpreadsheetDay,
    /// Seconds since 1970.
    UnixSeconds,
    /// Milliseconds since 1970.
    UnixMilliseconds,
}

/// In the order of preference: of two that match equally, the first is used.
pub(super) const FORMATS: [Format; 15] = [
    Format::YearFirst,
    Format::MonthFirst,
    Format::DayFirst,
    Format::ShortYearFirst,
    Format::YearMonth,
    Format::MonthYear,
    Format::Named,
    Format::NamedMonth,
    Format::Quarter,
    Format::Week,
    Format::Compact,
    Format::CompactMonth,
    Format::SpreadsheetDay,
    Format::UnixSeconds,
    Format::UnixMilliseconds,
];

impl Format {
    /// True if the dates look like plain numbers, so that only the name of a column makes them dates.
    pub(super) fn is_numeric(self) -> bool {
        match self {
            Self::Compact | Self::CompactMonth | Self::SpreadsheetDay | Self::UnixSeconds | Self::UnixMilliseconds => {
                true
            }
            Self::YearFirst
            | Self::DayFirst
            | Self::MonthFirst
            | Self::ShortYearFirst
            | Self::YearMonth
            | Self::MonthYear
            | Self::Named
            | Self::NamedMonth
            | Self::Quarter
            | Self::Week => false,
        }
    }

    /// Parses the text of a day; `None` if it is not a date of this format.
    pub(super) fn parse(self, day: &str, fiscal_year: Option<FiscalYear>) -> Option<Date> {
        match self {
            Self::YearFirst => {
                numbers(day, &['-', '/', '.'], 0).filter(|[y, _, _]| *y >= 1000).and_then(|[y, m, d]| date(y, m, d))
            }
            // Dots are never used with the month first.
            Self::MonthFirst => numbers(day, &['/', '-'], 2).and_then(|[m, d, y]| date(expand_year(y)?, m, d)),
            Self::DayFirst => numbers(day, &['/', '-', '.'], 2).and_then(|[d, m, y]| date(expand_year(y)?, m, d)),
            Self::ShortYearFirst => numbers(day, &['/', '-'], 0)
                .filter(|[y, _, _]| *y < 100)
                .and_then(|[y, m, d]| date(expand_year(y)?, m, d)),
            Self::YearMonth => pair(day).filter(|[y, _]| *y >= 1000).and_then(|[y, m]| date(y, m, 1)),
            Self::MonthYear => pair(day).filter(|[_, y]| *y >= 1000).and_then(|[m, y]| date(y, m, 1)),
            Self::Named => named(day),
            Self::NamedMonth => named_month(day),
            Self::Quarter => Quarter::parse(day)?.first_day(fiscal_year),
            Self::Week => parse_week(day),
            Self::Compact => compact(day),
            Self::CompactMonth => compact_month(day),
            Self::SpreadsheetDay => serial::spreadsheet_day(day),
            Self::UnixSeconds => serial::unix_day(day, 1),
            Self::UnixMilliseconds => serial::unix_day(day, 1000),
        }
    }
}

/// Splits three numbers at two equal separators; only the year may have more than two digits.
fn numbers(text: &str, separators: &[char], year: usize) -> Option<[i32; 3]> {
    let separator = text.chars().find(|c| !c.is_ascii_digit() && *c != ' ').filter(|c| separators.contains(c))?;
    // `2024. 11. 14.` in Korean and Hungarian, `14.11.2024.` in Croatian: each part is an ordinal.
    let text = if separator == '.' { text.strip_suffix('.').unwrap_or(text) } else { text };
    let mut parts = text.split(separator).map(str::trim);
    let mut all = [0; 3];
    for (index, number) in all.iter_mut().enumerate() {
        let part = parts.next()?;
        // A year has two digits or four.
        if part.len() > 2 && (index != year || part.len() != 4) {
            return None;
        }
        *number = parse_small(part).filter(|number| part.len() < 4 || *number >= 1000)?;
    }
    parts.next().is_none().then_some(all)
}

fn pair(text: &str) -> Option<[i32; 2]> {
    // `2024.11` and `12.2024` are more often figures than months, so a dot is not a separator.
    let (first, second) = text.split_once(['-', '/']).or_else(|| text.split_once('M'))?;
    // `2024M11` and `2024-M11`, as in official statistics.
    Some([parse_small(first.trim())?, parse_small(second.trim().trim_start_matches('M'))?])
}

/// True for a span of two years, such as `2010/11` and `2010-11`, which may also be a month.
pub(super) fn is_span_of_years(day: &str) -> bool {
    !day.contains('M') && pair(day).is_some_and(|[first, second]| first >= 1000 && second == (first + 1) % 100)
}

fn words(text: &str) -> Vec<&str> {
    let is_separator = |c: char| matches!(c, ' ' | ',' | '-' | '/' | '\'' | '’');
    let all = text.split(is_separator).filter(|word| !word.is_empty());
    all.filter(|word| !["of", "de", "del"].iter().any(|filler| word.eq_ignore_ascii_case(filler))).collect()
}

/// `14`, `14.`, `14th`
fn day_number(word: &str) -> Option<i32> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic() || matches!(c, '.' | 'º'));
    let suffix = word.get(digits.len()..)?.to_ascii_lowercase();
    let is_suffix = matches!(suffix.as_str(), "" | "." | "st" | "nd" | "rd" | "th" | "er" | "º");
    parse_small(digits).filter(|_| is_suffix && digits.len() <= 2)
}

fn named(text: &str) -> Option<Date> {
    let words = words(text);
    let [a, b, c] = words.as_slice() else { return None };
    if a.len() == 4
        && let Some(year) = parse_small(a)
    {
        return date(year, month_named(b)?, day_number(c)?);
    }
    let year = parse_year(c)?;
    match (month_named(a), month_named(b)) {
        (Some(month), None) => date(year, month, day_number(b)?),
        (None, Some(month)) => date(year, month, day_number(a)?),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

fn named_month(text: &str) -> Option<Date> {
    let words = words(text);
    let [a, b] = words.as_slice() else { return None };
    match (month_named(a), month_named(b)) {
        (Some(month), None) => date(parse_year(b)?, month, 1),
        (None, Some(month)) if a.len() == 4 => date(parse_small(a)?, month, 1),
        _ => None,
    }
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// `20241114`, and `20241114103045` with a time.
fn compact(text: &str) -> Option<Date> {
    let text = digits(text).filter(|text| matches!(text.len(), 8 | 12 | 14))?;
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i32>().ok();
    let is_time =
        |from: usize, limit: i32| text.len() <= from || part(from, from + 2).is_some_and(|part| part <= limit);
    let is_valid = is_time(8, 24) && is_time(10, 59) && is_time(12, 60);
    date(part(0, 4)?, part(4, 6)?, part(6, 8)?).filter(|_| is_valid)
}

fn compact_month(text: &str) -> Option<Date> {
    let text = digits(text).filter(|text| text.len() == 6)?;
    date(text.get(..4)?.parse().ok()?, text.get(4..)?.parse().ok()?, 1)
}

#[cfg(test)]
mod tests {
    use super::{FORMATS, Format, is_span_of_years};

    #[test]
    fn each_format_parses_its_own_dates() {
        for (format, text, expected) in [
            (Format::YearFirst, "2024-11-14", "2024-11-14"),
            (Format::YearFirst, "2024/11/4", "2024-11-04"),
            (Format::DayFirst, "14.11.2024", "2024-11-14"),
            (Format::DayFirst, "14. 11. 2024", "2024-11-14"),
            (Format::DayFirst, "14/11/24", "2024-11-14"),
            (Format::DayFirst, "14.11.2024.", "2024-11-14"),
            (Format::YearFirst, "2024. 11. 14.", "2024-11-14"),
            (Format::MonthFirst, "11/14/2024", "2024-11-14"),
            (Format::ShortYearFirst, "24-11-14", "2024-11-14"),
            (Format::YearMonth, "2024-11", "2024-11-01"),
            (Format::YearMonth, "2024M11", "2024-11-01"),
            (Format::YearMonth, "2024-M11", "2024-11-01"),
            (Format::MonthYear, "11/2024", "2024-11-01"),
            (Format::Named, "14 Nov 2024", "2024-11-14"),
            (Format::Named, "November 14th, 2024", "2024-11-14"),
            (Format::Named, "14-Nov-24", "2024-11-14"),
            (Format::Named, "14. Oktober 2024", "2024-10-14"),
            (Format::Named, "14 de noviembre de 2024", "2024-11-14"),
            (Format::Named, "2024-Nov-14", "2024-11-14"),
            (Format::Named, "14 maj 2024", "2024-05-14"),
            (Format::Named, "1 października 2024", "2024-10-01"),
            (Format::NamedMonth, "Paź-24", "2024-10-01"),
            (Format::NamedMonth, "augusti 2024", "2024-08-01"),
            (Format::NamedMonth, "Sept 2024", "2024-09-01"),
            (Format::NamedMonth, "Nov-24", "2024-11-01"),
            (Format::NamedMonth, "Nov '24", "2024-11-01"),
            (Format::NamedMonth, "NOV-24", "2024-11-01"),
            (Format::NamedMonth, "2024 Dez.", "2024-12-01"),
            (Format::Quarter, "Q4 2024", "2024-10-01"),
            (Format::Week, "2024-W46", "2024-11-14"),
            (Format::Compact, "20241114", "2024-11-14"),
            (Format::Compact, "20241114103045", "2024-11-14"),
            (Format::CompactMonth, "202411", "2024-11-01"),
            (Format::SpreadsheetDay, "45610", "2024-11-14"),
            (Format::UnixSeconds, "1731578400", "2024-11-14"),
            (Format::UnixMilliseconds, "1731578400000", "2024-11-14"),
        ] {
            assert_eq!(format.parse(text, None).map(|day| day.to_string()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_span_of_years_may_have_the_form_of_a_month() {
        for text in ["2010/11", "2009-10", "1999/00"] {
            assert!(is_span_of_years(text), "{text}");
        }
        for text in ["2010/12", "2010M11", "11/2010", "2010", "North"] {
            assert!(!is_span_of_years(text), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_date_matches_no_format() {
        for text in [
            "",
            "2024",
            "13/13/2024",
            "2024-02-30",
            "1.5",
            "12.2024",
            "North",
            "0001-01-01",
            "2024-11-14x",
            "14 Nov",
            "24-Nov",
            "1/2/345",
            "FY24 Q1",
            "20241314",
            "202413",
            "1.234.567",
            "14.11.",
            "12345",
            "99999",
        ] {
            let matching: Vec<_> = FORMATS.iter().filter(|format| format.parse(text, None).is_some()).collect();
            assert!(matching.is_empty(), "{text} {matching:?}");
        }
    }
}
