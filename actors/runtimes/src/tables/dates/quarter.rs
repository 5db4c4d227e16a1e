//! Quarters of a calendar year or of a fiscal year, and weeks, as people write them.

use jiff::civil::{Date, ISOWeekDate, Weekday};

use super::calendar::{date, parse_small, parse_year};

/// How the years of a company begin and are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FiscalYear {
    /// The number of its first month.
    pub first_month: i8,
    /// The calendar year that names it.
    pub named_by: NamedBy,
}

/// The calendar year that names a fiscal year.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NamedBy {
    /// The year in which it ends: FY24 begins in 2023, unless it begins in January.
    #[default]
    End,
    /// The year in which it begins.
    Start,
}

impl FiscalYear {
    /// The calendar year in which a fiscal year begins.
    fn start_year(self, year: QuarterYear) -> i32 {
        match (year, self.named_by) {
            (QuarterYear::Fiscal(year), NamedBy::End) if self.first_month > 1 => year - 1,
            (QuarterYear::Fiscal(year) | QuarterYear::Calendar(year) | QuarterYear::Span(year), _) => year,
        }
    }

    /// The calendar year that names a fiscal year.
    pub(super) fn label_year(self, year: QuarterYear) -> i32 {
        match (year, self.named_by) {
            (QuarterYear::Span(first), NamedBy::End) => first + 1,
            (QuarterYear::Fiscal(year) | QuarterYear::Calendar(year) | QuarterYear::Span(year), _) => year,
        }
    }
}

/// A quarter as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quarter {
    /// From 1 to 4.
    pub(super) number: i32,
    /// Its year.
    pub(super) year: QuarterYear,
}

/// The year of a quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QuarterYear {
    /// `Q4 2024`
    Calendar(i32),
    /// `FY24 Q4`
    Fiscal(i32),
    /// `2023/24 Q4`: the first of the two years.
    Span(i32),
}

impl Quarter {
    /// True if the first day of the quarter depends on the fiscal year.
    pub(super) fn is_fiscal(self) -> bool {
        !matches!(self.year, QuarterYear::Calendar(_))
    }

    /// The first day; `None` for a quarter of a fiscal year that is not known.
    pub(super) fn first_day(self, fiscal_year: Option<FiscalYear>) -> Option<Date> {
        let (year, first_month) = match self.year {
            QuarterYear::Calendar(year) => (year, 1),
            QuarterYear::Fiscal(_) | QuarterYear::Span(_) => {
                let fiscal_year = fiscal_year?;
                (fiscal_year.start_year(self.year), i32::from(fiscal_year.first_month))
            }
        };
        let month = first_month - 1 + (self.number - 1) * 3;
        date(year + month / 12, month % 12 + 1, 1)
    }

    /// Parses a quarter: `Q4 2024`, `2024-Q4`, `4Q24`, `FY24 Q1`, `Q1 FY2023/24`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = tokens(text)?;
        let mut rest: Vec<&str> = Vec::with_capacity(all.len());
        let (mut number, mut is_fiscal) = (None, false);
        let mut position = 0;
        while let Some(token) = all.get(position) {
            let next = all.get(position + 1).and_then(|next| quarter_number(next));
            let is_before_q = all.get(position + 1).is_some_and(|next| is_quarter_word(next));
            match (token.as_str(), number) {
                ("FY", _) if !is_fiscal => is_fiscal = true,
                (word, None) if is_quarter_word(word) && next.is_some() => {
                    number = next;
                    position += 1;
                }
                (digit, None) if is_before_q && quarter_number(digit).is_some() => {
                    number = quarter_number(digit);
                    position += 1;
                }
                (year, _) => rest.push(year),
            }
            position += 1;
        }
        let year = match rest.as_slice() {
            [year] if is_fiscal => QuarterYear::Fiscal(parse_year(year)?),
            [year] => QuarterYear::Calendar(parse_year(year)?),
            [first, second] => {
                let (first, second) = (parse_year(first)?, parse_year(second)?);
                (second == first + 1).then_some(QuarterYear::Span(first))?
            }
            _ => return None,
        };
        Some(Self { number: number?, year })
    }
}

fn quarter_number(text: &str) -> Option<i32> {
    parse_small(text).filter(|number| text.len() == 1 && (1..=4).contains(number))
}

fn is_quarter_word(word: &str) -> bool {
    matches!(word, "Q" | "QTR" | "QUARTER" | "QUARTAL")
}

/// True if the last words are a quarter such as `Q4`, after which further digits are the year: `Q42024`. In
/// `4Q2024` they are not.
fn ends_with_quarter(all: &[String]) -> bool {
    let (before, word, digit) = match all {
        [.., before, word, digit] => (Some(before), word, digit),
        [word, digit] => (None, word, digit),
        _ => return false,
    };
    is_quarter_word(word) && digit.len() == 1 && before.is_none_or(|before| quarter_number(before).is_none())
}

/// Splits a short text into upper-case words and numbers; `None` if it has other characters than separators.
fn tokens(text: &str) -> Option<Vec<String>> {
    const CHARS_MAX: usize = 24;
    if text.len() > CHARS_MAX {
        return None;
    }
    let mut all: Vec<String> = Vec::new();
    let mut previous = ' ';
    for c in text.chars() {
        let continues = (c.is_ascii_digit() && previous.is_ascii_digit() && !ends_with_quarter(&all))
            || (c.is_ascii_alphabetic() && previous.is_ascii_alphabetic());
        if c.is_ascii_alphanumeric() {
            // `FYQ1` and `Q1FY24` have two words without a separator.
            let is_new_word = all.last().is_some_and(|word| word == "FY");
            match all.last_mut() {
                Some(token) if continues && !is_new_word => token.push(c.to_ascii_uppercase()),
                Some(_) | None => all.push(c.to_ascii_uppercase().to_string()),
            }
        } else if !matches!(c, ' ' | '-' | '/' | '_' | '.' | '\'' | '’' | ',' | '–') {
            return None;
        }
        previous = c;
    }
    Some(all)
}

/// Parses a week of ISO 8601, with its weekday or without: `2024-W46`, `W46 2024`, `KW 46/2024`,
/// `2024-W46-3`. A week without a weekday is its Thursday, which decides its year.
pub(super) fn parse_week(text: &str) -> Option<Date> {
    let all = tokens(text)?;
    let is_word = |word: &str| matches!(word, "W" | "WK" | "WEEK" | "KW" | "CW" | "WOCHE");
    let (year, week, weekday) = match all.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [year, word, week] if is_word(word) && year.len() == 4 => (*year, *week, "4"),
        [year, word, week, weekday] if is_word(word) && year.len() == 4 => (*year, *week, *weekday),
        [word, week, year] if is_word(word) => (*year, *week, "4"),
        _ => return None,
    };
    let weekday = Weekday::from_monday_one_offset(weekday.parse().ok().filter(|_| weekday.len() == 1)?).ok()?;
    let week = parse_small(week).filter(|_| week.len() <= 2)?;
    let year = i16::try_from(parse_year(year)?).ok()?;
    let day = ISOWeekDate::new(year, i8::try_from(week).ok()?, weekday).ok()?.date();
    date(i32::from(day.year()), i32::from(day.month()), i32::from(day.day()))
}

#[cfg(test)]
mod tests {
    use super::{FiscalYear, NamedBy, Quarter, parse_week};

    fn first_day(text: &str, first_month: i8, named_by: NamedBy) -> Option<String> {
        Some(Quarter::parse(text)?.first_day(Some(FiscalYear { first_month, named_by }))?.to_string())
    }

    #[test]
    fn a_quarter_is_parsed_in_every_usual_form() {
        for text in [
            "Q4 2024",
            "2024-Q4",
            "2024Q4",
            "q4 2024",
            "Q4/2024",
            "4Q24",
            "4Q2024",
            "2024 Q4",
            "Q42024",
            "Quarter 4, 2024",
            "4. Quartal 2024",
            "Q4'24",
        ] {
            assert_eq!(first_day(text, 4, NamedBy::End).as_deref(), Some("2024-10-01"), "{text}");
        }
        for text in
            ["Q5 2024", "Q0 2024", "Q", "fourth quarter", "Q4", "", "Q4 20245", "FY24", "Q1 Q2 2024", "Q1 2024/26"]
        {
            assert_eq!(Quarter::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_fiscal_quarter_begins_as_its_year_is_stated() {
        for text in [
            "FY24 Q1",
            "FY2024-Q1",
            "Q1 FY24",
            "Q1FY24",
            "FY24Q1",
            "1Q FY24",
            "FY 2024 Q1",
            "FY2023/24 Q1",
            "2023/24 Q1",
        ] {
            assert_eq!(first_day(text, 10, NamedBy::End).as_deref(), Some("2023-10-01"), "{text}");
            assert!(Quarter::parse(text).unwrap().first_day(None).is_none());
        }
        assert_eq!(first_day("FY24 Q2", 10, NamedBy::End).as_deref(), Some("2024-01-01"));
        assert_eq!(first_day("FY24 Q4", 4, NamedBy::Start).as_deref(), Some("2025-01-01"));
        assert_eq!(first_day("FY24 Q1", 1, NamedBy::End).as_deref(), Some("2024-01-01"));
        assert_eq!(first_day("FY2023/24 Q1", 4, NamedBy::Start).as_deref(), Some("2023-04-01"));
    }

    #[test]
    fn a_week_is_its_thursday() {
        for text in ["2024-W46", "2024W46", "W46 2024", "KW 46/2024", "Week 46, 2024", "2024-W46-4"] {
            assert_eq!(parse_week(text).map(|day| day.to_string()).as_deref(), Some("2024-11-14"), "{text}");
        }
        assert_eq!(parse_week("2025-W01").unwrap().to_string(), "2025-01-02");
        assert_eq!(parse_week("2024-W46-1").unwrap().to_string(), "2024-11-11");
        for text in ["2024-W54", "2024-W00", "W46", "2024-46", "2024-W46-8", "2024 X 46"] {
            assert_eq!(parse_week(text), None, "{text}");
        }
    }
}
