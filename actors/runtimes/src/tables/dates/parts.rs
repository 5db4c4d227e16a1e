//! Dates whose parts are in columns of their own, such as `Year` and `Month`.

use jiff::ToSpan;
use jiff::civil::Date;

use super::calendar::{date, month_named, parse_small};
use super::names::words;
use super::quarter::{FiscalYear, Quarter, QuarterYear, parse_week};

/// A part of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// `2024`, `FY24`, `2023/24`
    Year,
    /// `4`, `Q4`
    Quarter,
    /// `11`, `November`
    Month,
    /// `46`, `W46`
    Week,
    /// `14`
    Day,
}

/// The words for each part, in the languages of the names of months and their neighbours.
const WORDS: [(Part, &str); 5] = [
    (
        Part::Year,
        "year yr fy jahr geschäftsjahr wirtschaftsjahr kalenderjahr année annee an año ano anno jaar år rok vuosi yıl \
         exercice ejercicio год 年",
    ),
    (Part::Quarter, "quarter qtr quartal trimestre trim kwartaal kvartal kwartał квартал 季度 四半期"),
    (Part::Month, "month mon monat mois mes mês mese maand måned månad miesiąc kuukausi месяц 月"),
    (Part::Week, "week wk kw woche kalenderwoche semaine semana settimana uke vecka tydzień viikko неделя 週 周"),
    (Part::Day, "day tag jour día dia giorno dag dzień päivä день 日"),
];
/// Words that make a year, a quarter or a month one of a fiscal year.
const FISCAL: [&str; 11] = [
    "fiscal",
    "fiscale",
    "fiscali",
    "financial",
    "fy",
    "fq",
    "fm",
    "geschäftsjahr",
    "wirtschaftsjahr",
    "exercice",
    "ejercicio",
];

/// Words that say nothing about which date a part belongs to.
const FILLERS: [&str; 9] = ["calendar", "report", "reporting", "number", "name", "no", "num", "nr", "of"];

/// The name of a column that is the name of a part of a date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedPart {
    /// The part.
    pub(crate) part: Part,
    /// The other words of the name, such as `order`, in lower case.
    pub(crate) others: Vec<String>,
    /// True if the name is that of a fiscal year.
    pub(crate) is_fiscal: bool,
}

/// Determines whether the first or the last word of a name is that of a part of a date.
pub(crate) fn named_part(name: &str) -> Option<NamedPart> {
    let mut others = words(name);
    let part_of = |word: &String| {
        WORDS.iter().find(|(_, list)| list.split_ascii_whitespace().any(|known| known == word)).map(|(part, _)| *part)
    };
    let is_fiscal = others.iter().any(|word| FISCAL.contains(&word.as_str()));
    let (part, at) = match (others.last().and_then(part_of), others.first().and_then(part_of)) {
        (Some(part), _) => (part, others.len() - 1),
        (None, Some(part)) => (part, 0),
        (None, None) => return None,
    };
    others.remove(at);
    others.retain(|word| !FISCAL.contains(&word.as_str()) && !FILLERS.contains(&word.as_str()));
    Some(NamedPart { part, others, is_fiscal })
}

/// The parts of one date, as their cells write them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    /// The year.
    pub(crate) year: &'a str,
    /// True if the name of its column is that of a fiscal year.
    pub(crate) is_fiscal: bool,
    /// The quarter, the month or the week.
    pub(crate) finer: (Part, &'a str),
    /// True if the name of its column is that of a fiscal year: the month `1` is then the first one of that year.
    pub(crate) is_finer_fiscal: bool,
    /// The day of the month.
    pub(crate) day: Option<&'a str>,
}

/// The date that parts have together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Joined {
    /// Its text, in a form that the formats of dates have.
    Date(String),
    /// A month of a fiscal year whose first month is not known.
    NeedsFiscalYear,
    /// None: one of the parts cannot be read.
    Unreadable,
}

/// Joins the parts of one date.
pub(crate) fn join(parts: &Parts<'_>, fiscal_year: Option<FiscalYear>) -> Joined {
    try_join(parts, fiscal_year).unwrap_or(Joined::Unreadable)
}

fn try_join(parts: &Parts<'_>, fiscal_year: Option<FiscalYear>) -> Option<Joined> {
    let is_number = parts.year.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = if (parts.is_fiscal || parts.is_finer_fiscal) && is_number { "FY" } else { "" };
    let year = format!("{prefix}{}", parts.year);
    let first = Quarter::parse(&format!("{year} Q1"))?;
    let (finer, text) = parts.finer;
    let calendar_year = match first.year {
        QuarterYear::Calendar(year) => Some(year),
        QuarterYear::Fiscal(_) | QuarterYear::Span(_) => None,
    };
    match finer {
        Part::Quarter => Some(Joined::Date(format!("{year} Q{}", quarter_number(text)?))),
        Part::Week => {
            let day = parse_week(&format!("W{} {}", week_number(text)?, calendar_year?))?;
            let week = day.iso_week_date();
            Some(Joined::Date(format!("{}-W{:02}", week.year(), week.week())))
        }
        Part::Month => {
            let Some(month) = month_of(first, text, parts.is_finer_fiscal, fiscal_year)? else {
                return Some(Joined::NeedsFiscalYear);
            };
            let month_text = format!("{:04}-{:02}", month.year(), month.month());
            let Some(day) = parts.day else { return Some(Joined::Date(month_text)) };
            let day = parse_small(day).filter(|day| (1..=31).contains(day))?;
            Some(Joined::Date(format!("{month_text}-{day:02}")))
        }
        Part::Year | Part::Day => None,
    }
}

/// The first day of a month of the year that begins with this quarter: `Some(None)` if that year is a fiscal one
/// that is not known.
fn month_of(first: Quarter, text: &str, is_ordinal: bool, fiscal_year: Option<FiscalYear>) -> Option<Option<Date>> {
    let number = parse_small(text).filter(|_| text.len() <= 2);
    let month = number.or_else(|| month_named(text)).filter(|month| (1..=12).contains(month))?;
    let is_fiscal = !matches!(first.year, QuarterYear::Calendar(_));
    let Some(begin) = first.first_day(fiscal_year) else { return Some(None) };
    if is_fiscal && is_ordinal && number.is_some() {
        return begin.checked_add((month - 1).months()).ok().map(Some);
    }
    let is_next_year = month < i32::from(begin.month());
    date(i32::from(begin.year()) + i32::from(is_next_year), month, 1).map(Some)
}

/// `4`, `Q4`, `4. Quartal`, `T4`
fn quarter_number(text: &str) -> Option<i32> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let number = parse_small(&digits).filter(|number| (1..=4).contains(number) && digits.len() == 1)?;
    let letters: String = text.chars().filter(|c| c.is_alphabetic()).collect::<String>().to_lowercase();
    let is_word = |word: &str| word == letters;
    let is_quarter = matches!(letters.as_str(), "" | "q" | "t" | "k" | "fq")
        || WORDS.iter().filter(|(part, _)| *part == Part::Quarter).any(|(_, list)| list.split(' ').any(is_word));
    is_quarter.then_some(number)
}

/// `46`, `W46`, `KW 46`
fn week_number(text: &str) -> Option<i32> {
    let digits = text.trim_start_matches(|c: char| c.is_alphabetic() || c == ' ');
    parse_small(digits).filter(|week| (1..=53).contains(week) && digits.len() <= 2)
}

#[cfg(test)]
mod tests {
    use super::{Joined, Part, Parts, join, named_part};
    use crate::tables::dates::{FiscalYear, NamedBy};

    #[test]
    fn a_name_is_that_of_a_part_by_its_first_or_last_word() {
        for (name, part, others, is_fiscal) in [
            ("Year", Part::Year, &[][..], false),
            ("order_month", Part::Month, &["order"], false),
            ("Fiscal Year", Part::Year, &[], true),
            ("FY", Part::Year, &[], true),
            ("Année fiscale", Part::Year, &[], true),
            ("Geschäftsjahr", Part::Year, &[], true),
            ("Monat", Part::Month, &[], false),
            ("KW", Part::Week, &[], false),
            ("Mois de vente", Part::Month, &["de", "vente"], false),
            ("Quartal", Part::Quarter, &[], false),
        ] {
            let named = named_part(name).unwrap_or_else(|| panic!("{name}"));
            let others: Vec<String> = others.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!((named.part, named.others, named.is_fiscal), (part, others, is_fiscal), "{name}");
        }
        for name in ["Yearly", "revenue", "Total 2024", ""] {
            assert_eq!(named_part(name), None, "{name}");
        }
    }

    fn joined(year: &str, finer: (Part, &str), is_fiscal: (bool, bool), day: Option<&str>) -> String {
        let parts = Parts { year, is_fiscal: is_fiscal.0, finer, is_finer_fiscal: is_fiscal.1, day };
        match join(&parts, Some(FiscalYear { first_month: 10, named_by: NamedBy::End })) {
            Joined::Date(text) => text,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_parts_of_a_date_are_joined() {
        let calendar = (false, false);
        for (year, finer, expected) in [
            ("2024", (Part::Month, "11"), "2024-11"),
            ("2024", (Part::Month, "Nov"), "2024-11"),
            ("2024", (Part::Month, "März"), "2024-03"),
            ("24", (Part::Month, "1"), "2024-01"),
            ("2024", (Part::Quarter, "4"), "2024 Q4"),
            ("2024", (Part::Quarter, "Q4"), "2024 Q4"),
            ("2024", (Part::Quarter, "4. Quartal"), "2024 Q4"),
            ("FY24", (Part::Quarter, "T1"), "FY24 Q1"),
            ("2024", (Part::Week, "KW 46"), "2024-W46"),
            ("2023/24", (Part::Month, "October"), "2023-10"),
            ("FY24", (Part::Month, "January"), "2024-01"),
        ] {
            assert_eq!(joined(year, finer, calendar, None), expected, "{year} {finer:?}");
        }
        assert_eq!(joined("2024", (Part::Month, "2"), calendar, Some("5")), "2024-02-05");
        assert_eq!(joined("2024", (Part::Month, "11"), (true, false), None), "2023-11");
        assert_eq!(joined("2024", (Part::Month, "1"), (true, true), None), "2023-10");
        assert_eq!(joined("2024", (Part::Quarter, "1"), (true, false), None), "FY2024 Q1");
        for (year, finer) in [
            ("2024", (Part::Month, "13")),
            ("2024", (Part::Month, "Smarch")),
            ("soon", (Part::Month, "1")),
            ("2024", (Part::Quarter, "5")),
            ("2024", (Part::Week, "54")),
            ("3", (Part::Month, "1")),
        ] {
            assert_eq!(joined(year, finer, calendar, None), "Unreadable", "{year} {finer:?}");
        }
    }

    #[test]
    fn a_month_of_an_unknown_fiscal_year_is_not_guessed() {
        let parts =
            Parts { year: "2024", is_fiscal: true, finer: (Part::Month, "1"), is_finer_fiscal: false, day: None };
        assert_eq!(join(&parts, None), Joined::NeedsFiscalYear);
    }
}
