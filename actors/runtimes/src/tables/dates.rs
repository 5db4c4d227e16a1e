//! Dates in the formats that people write, and the periods of a report.
//!
//! Whether `03/04/2024` is in March or in April is a property of the column: one day above 12 determines it;
//! without one, slashes are read month first and dots day first.

use std::fmt;

use jiff::civil::Date;

/// Valid years of a date; any other year means that the text is a number.
const YEARS: std::ops::RangeInclusive<i16> = 1900..=2200;

/// The date format of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `2024-11-14`, `2024/11/14`, with or without a time of day.
    YearFirst,
    /// `14.11.2024`, `14/11/2024`, `14-11-2024`
    DayFirst,
    /// `11/14/2024`
    MonthFirst,
    /// `2024-11`, `2024/11`
    YearMonth,
    /// `11/2024`
    MonthYear,
    /// `14 Nov 2024`, `Nov 14, 2024`, `November 2024`
    Named,
    /// `Q4 2024`, `2024-Q4`
    Quarter,
    /// `20241114`; only accepted if the name of the column suggests a date.
    Compact,
}

/// In the order in which they are tried. Of two that match equally, the first is used.
pub(crate) const FORMATS: [Format; 8] = [
    Format::YearFirst,
    Format::MonthFirst,
    Format::DayFirst,
    Format::YearMonth,
    Format::MonthYear,
    Format::Named,
    Format::Quarter,
    Format::Compact,
];

impl Format {
    /// Parses one cell; `None` if it is not a date of this format.
    pub(crate) fn parse(self, text: &str) -> Option<Date> {
        let text = text.trim();
        match self {
            Self::YearFirst => numbers(date_part(text), &['-', '/', '.'], 0).and_then(|[y, m, d]| date(y, m, d)),
            // Dots are never used with the month first.
            Self::MonthFirst => {
                numbers(date_part(text), &['/', '-'], 2).and_then(|[m, d, y]| date(expand_year(y)?, m, d))
            }
            Self::DayFirst => {
                numbers(date_part(text), &['/', '-', '.'], 2).and_then(|[d, m, y]| date(expand_year(y)?, m, d))
            }
            Self::YearMonth => pair(text).filter(|[y, _]| *y >= 1000).and_then(|[y, m]| date(y, m, 1)),
            Self::MonthYear => pair(text).filter(|[_, y]| *y >= 1000).and_then(|[m, y]| date(y, m, 1)),
            Self::Named => named(text),
            Self::Quarter => Period::parse_quarter(text).map(|period| period.from),
            Self::Compact => compact(text),
        }
    }
}

/// True if some format except `Compact` matches the text.
pub(crate) fn looks_like_date(text: &str) -> bool {
    FORMATS.iter().any(|format| *format != Format::Compact && format.parse(text).is_some())
}

fn date(year: i32, month: i32, day: i32) -> Option<Date> {
    let year = i16::try_from(year).ok().filter(|year| YEARS.contains(year))?;
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

fn expand_year(year: i32) -> Option<i32> {
    match year {
        0..=68 => Some(2000 + year),
        69..=99 => Some(1900 + year),
        1000.. => Some(year),
        _ => None,
    }
}

/// The text before a time of day.
fn date_part(text: &str) -> &str {
    let end = text.char_indices().find(|(at, c)| *at >= 6 && matches!(c, 'T' | 't' | ' ')).map(|(at, _)| at);
    match end {
        Some(at) if text.get(at + 1..).is_some_and(is_time) => text.get(..at).unwrap_or(text),
        Some(_) | None => text,
    }
}

fn is_time(text: &str) -> bool {
    let mut digits = text.chars();
    digits.next().is_some_and(|c| c.is_ascii_digit())
        && text.contains(':')
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, ':' | '.' | '+' | '-' | 'Z' | 'z' | ' ' | 'A' | 'P' | 'M'))
}

fn parse_small(text: &str) -> Option<i32> {
    ((1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Splits three numbers at two equal separators; only the year has more than two digits.
fn numbers(text: &str, separators: &[char], year: usize) -> Option<[i32; 3]> {
    let separator = text.chars().find(|c| !c.is_ascii_digit()).filter(|c| separators.contains(c))?;
    if text.split(separator).enumerate().any(|(index, part)| index != year && part.len() > 2) {
        return None;
    }
    let mut parts = text.split(separator);
    let all = [parse_small(parts.next()?)?, parse_small(parts.next()?)?, parse_small(parts.next()?)?];
    parts.next().is_none().then_some(all)
}

fn pair(text: &str) -> Option<[i32; 2]> {
    let (first, second) = text.split_once(['-', '/', '.'])?;
    // `2024.11` and `12.2024` are more often figures than months, so a dot is not a separator.
    if text.contains('.') {
        return None;
    }
    Some([parse_small(first)?, parse_small(second)?])
}

fn compact(text: &str) -> Option<Date> {
    if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    date(text.get(..4)?.parse().ok()?, text.get(4..6)?.parse().ok()?, text.get(6..)?.parse().ok()?)
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const MONTHS_LONG: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

fn month_named(word: &str) -> Option<i32> {
    let word = word.trim_end_matches('.').to_ascii_lowercase();
    let index = MONTHS
        .iter()
        .zip(MONTHS_LONG)
        .position(|(short, long)| word == *short || word == long || (word == "sept" && *short == "sep"))?;
    i32::try_from(index + 1).ok()
}

fn named(text: &str) -> Option<Date> {
    let words: Vec<&str> = text.split([' ', ',', '-', '/']).filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [month, year] => date(parse_small(year).filter(|y| *y >= 1000)?, month_named(month)?, 1),
        [a, b, year] => {
            let year = expand_year(parse_small(year)?)?;
            match (month_named(a), month_named(b)) {
                (Some(month), None) => date(year, month, parse_small(b)?),
                (None, Some(month)) => date(year, month, parse_small(a)?),
                (Some(_), Some(_)) | (None, None) => None,
            }
        }
        _ => None,
    }
}

/// A range of days with its usual name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    /// Its kind.
    pub(crate) kind: PeriodKind,
    /// Its first day.
    pub(crate) from: Date,
    /// Its last day.
    pub(crate) to: Date,
}

/// Kinds of periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeriodKind {
    /// Three months.
    Quarter,
    /// One month.
    Month,
    /// The complete range of the file.
    Complete,
}

impl Period {
    /// Parses a quarter: `Q4 2024`, `2024-Q4`, `2024Q4`, `4Q24`, `Q4/2024`.
    pub(crate) fn parse_quarter(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_uppercase();
        let (before, after) = text.split_once('Q')?;
        let clean = |part: &str| part.trim_matches(|c: char| c.is_whitespace() || "-/_.'’,".contains(c)).to_owned();
        let (before, after) = (clean(before), clean(after));
        let (number, year) = if before.len() == 1 && !after.is_empty() {
            (before, after)
        } else if before.is_empty() {
            let number: String = after.chars().take(1).collect();
            let year = clean(after.get(1..)?);
            (number, year)
        } else {
            (after, before)
        };
        let number: i32 = number.parse().ok().filter(|number| (1..=4).contains(number))?;
        if !matches!(year.len(), 2 | 4) {
            return None;
        }
        let from = date(expand_year(parse_small(&year)?)?, number * 3 - 2, 1)?;
        Self::containing(PeriodKind::Quarter, from)
    }

    /// The period of this kind that contains a day; `None` for a kind without a calendar.
    pub(crate) fn containing(kind: PeriodKind, day: Date) -> Option<Self> {
        let first = match kind {
            PeriodKind::Month => day.month(),
            PeriodKind::Quarter => (day.month() - 1) / 3 * 3 + 1,
            PeriodKind::Complete => return None,
        };
        let from = Date::new(day.year(), first, 1).ok()?;
        let last = Date::new(day.year(), first + if kind == PeriodKind::Quarter { 2 } else { 0 }, 1).ok()?;
        Some(Self { kind, from, to: last.last_of_month() })
    }

    /// The period of the same kind that ends the day before this one begins.
    pub(crate) fn previous(&self) -> Option<Self> {
        Self::containing(self.kind, self.from.yesterday().ok()?)
    }

    /// True if the period contains the day.
    pub(crate) fn contains(&self, day: Date) -> bool {
        self.from <= day && day <= self.to
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PeriodKind::Quarter => write!(f, "Q{} {}", (self.from.month() + 2) / 3, self.from.year()),
            PeriodKind::Month => write!(f, "{:04}-{:02}", self.from.year(), self.from.month()),
            PeriodKind::Complete => write!(f, "{} to {}", self.from, self.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FORMATS, Format, Period, looks_like_date};

    #[test]
    fn each_format_parses_its_own_dates() {
        for (format, text, expected) in [
            (Format::YearFirst, "2024-11-14", "2024-11-14"),
            (Format::YearFirst, "2024/11/14", "2024-11-14"),
            (Format::YearFirst, "2024-11-14T10:30:45Z", "2024-11-14"),
            (Format::YearFirst, "2024-11-14 10:30:45+02:00", "2024-11-14"),
            (Format::DayFirst, "14.11.2024", "2024-11-14"),
            (Format::DayFirst, "14/11/24", "2024-11-14"),
            (Format::MonthFirst, "11/14/2024", "2024-11-14"),
            (Format::YearMonth, "2024-11", "2024-11-01"),
            (Format::MonthYear, "11/2024", "2024-11-01"),
            (Format::Named, "14 Nov 2024", "2024-11-14"),
            (Format::Named, "November 14, 2024", "2024-11-14"),
            (Format::Named, "Sept 2024", "2024-09-01"),
            (Format::Quarter, "Q4 2024", "2024-10-01"),
            (Format::Compact, "20241114", "2024-11-14"),
        ] {
            assert_eq!(format.parse(text).map(|day| day.to_string()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_date_matches_no_format() {
        for text in ["", "2024", "13/13/2024", "2024-02-30", "1.5", "12.2024", "North", "0001-01-01", "2024-11-14x"] {
            assert!(FORMATS.iter().all(|format| format.parse(text).is_none()), "{text}");
        }
        assert!(!looks_like_date("20241114"));
    }

    #[test]
    fn a_quarter_is_parsed_in_every_usual_form() {
        for text in ["Q4 2024", "2024-Q4", "2024Q4", "q4 2024", "Q4/2024", "4Q24", "2024 Q4", "Q42024"] {
            assert_eq!(
                Period::parse_quarter(text).map(|period| period.to_string()).as_deref(),
                Some("Q4 2024"),
                "{text}"
            );
        }
        for text in ["Q5 2024", "Q0 2024", "Q", "fourth quarter", "Q4", "", "Q4 20245"] {
            assert_eq!(Period::parse_quarter(text), None, "{text}");
        }
    }

    #[test]
    fn the_previous_quarter_crosses_the_year() {
        let period = Period::parse_quarter("Q1 2025").unwrap();
        let before = period.previous().unwrap();
        assert_eq!(before.to_string(), "Q4 2024");
        assert_eq!((before.from.to_string(), before.to.to_string()), ("2024-10-01".into(), "2024-12-31".into()));
        assert!(period.contains("2025-03-31".parse().unwrap()) && !period.contains("2025-04-01".parse().unwrap()));
    }
}
