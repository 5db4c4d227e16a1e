//! Days of the calendar, and the names of months and weekdays.

use jiff::civil::Date;

/// Valid years of a date; any other year means that the text is no date.
const YEARS: std::ops::RangeInclusive<i16> = 1900..=2200;

/// The names of the months, from January, in English, German, French, Spanish, Italian, Portuguese, Dutch, Swedish, Danish,
/// Norwegian and Polish. Short names that are English words, such as `set` and `out`, are not among them.
const MONTHS: [&[&str]; 12] = [
    &[
        "jan", "january", "januar", "jän", "jänner", "janvier", "janv", "ene", "enero", "gennaio", "janeiro",
        "januari", "styczeń", "stycznia", "sty",
    ],
    &[
        "feb",
        "february",
        "februar",
        "février",
        "fevrier",
        "févr",
        "fév",
        "febrero",
        "febbraio",
        "fev",
        "fevereiro",
        "februari",
        "luty",
        "lutego",
        "lut",
    ],
    &[
        "mar", "march", "märz", "maerz", "mär", "mrz", "mars", "marzo", "março", "marco", "maart", "mrt", "marts",
        "marzec", "marca",
    ],
    &["apr", "april", "avril", "avr", "abr", "abril", "aprile", "kwiecień", "kwietnia", "kwi"],
    &["may", "mai", "mayo", "maggio", "maio", "mei", "maj", "maja"],
    &["jun", "june", "juni", "juin", "junio", "giu", "giugno", "junho", "czerwiec", "czerwca", "cze"],
    &["jul", "july", "juli", "juillet", "juil", "julio", "lug", "luglio", "julho", "lipiec", "lipca", "lip"],
    &["aug", "august", "août", "aout", "ago", "agosto", "augustus", "augusti", "sierpień", "sierpnia", "sie"],
    &["sep", "sept", "september", "septembre", "septiembre", "settembre", "setembro", "wrzesień", "września", "wrz"],
    &[
        "oct",
        "october",
        "okt",
        "oktober",
        "octobre",
        "octubre",
        "ott",
        "ottobre",
        "outubro",
        "październik",
        "października",
        "paź",
    ],
    &["nov", "november", "novembre", "noviembre", "novembro", "listopad", "listopada", "lis"],
    &[
        "dec",
        "december",
        "dez",
        "dezember",
        "déc",
        "décembre",
        "decembre",
        "dic",
        "diciembre",
        "dicembre",
        "dezembro",
        "desember",
        "grudzień",
        "grudnia",
        "gru",
    ],
];
const WEEKDAYS: [&str; 31] = [
    "mon",
    "monday",
    "tue",
    "tues",
    "tuesday",
    "wed",
    "wednesday",
    "thu",
    "thur",
    "thurs",
    "thursday",
    "fri",
    "friday",
    "sat",
    "saturday",
    "sun",
    "sunday",
    "montag",
    "dienstag",
    "mittwoch",
    "donnerstag",
    "freitag",
    "samstag",
    "sonntag",
    "mo",
    "di",
    "mi",
    "do",
    "fr",
    "sa",
    "so",
];

/// The day, if it exists in a year of the calendar.
pub(super) fn date(year: i32, month: i32, day: i32) -> Option<Date> {
    let year = i16::try_from(year).ok().filter(|year| YEARS.contains(year))?;
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// The year of two or four digits.
pub(super) fn expand_year(year: i32) -> Option<i32> {
    match year {
        0..=68 => Some(2000 + year),
        69..=99 => Some(1900 + year),
        1000.. => Some(year),
        _ => None,
    }
}

/// Parses a number of one to four digits.
pub(super) fn parse_small(text: &str) -> Option<i32> {
    ((1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Parses the year of a text: four digits, or two.
pub(super) fn parse_year(text: &str) -> Option<i32> {
    if matches!(text.len(), 2 | 4) { expand_year(parse_small(text)?) } else { None }
}

/// The number of the month with this name.
pub(super) fn month_named(word: &str) -> Option<i32> {
    let word = word.trim_end_matches('.').to_lowercase();
    let index = MONTHS.iter().position(|names| names.contains(&word.as_str()))?;
    i32::try_from(index + 1).ok()
}

/// True if the word is the name of a weekday.
pub(super) fn is_weekday(word: &str) -> bool {
    WEEKDAYS.contains(&word.trim_end_matches(['.', ',']).to_lowercase().as_str())
}
