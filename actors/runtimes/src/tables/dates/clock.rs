//! Separates the day of a text from its weekday, its time and its time zone. A row counts on its day as
//! written, whatever the zone.

use std::borrow::Cow;

use super::calendar;

/// The parts of a text that may be a date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment<'a> {
    /// The text of the day.
    pub(super) day: Cow<'a, str>,
    /// The time zone or the offset, if the text has one.
    pub(super) zone: Option<String>,
}

/// Splits a text. A text without a time is its own day.
pub(super) fn split(text: &str) -> Moment<'_> {
    let text = without_weekday(plain_marks(plain_spaces(text.trim())));
    let is_split = |c: char| matches!(c, ' ' | 'T' | 't' | ',');
    for (at, separator) in text.char_indices().filter(|(_, c)| is_split(*c)) {
        let rest = text.get(at + 1..).unwrap_or_default().trim_start();
        let zone = match parse_time(rest, separator.eq_ignore_ascii_case(&'t')) {
            Some(zone) => zone,
            None if separator == ' ' && is_zone_name(rest) => Some(rest.to_owned()),
            None => continue,
        };
        let day = text.get(..at).unwrap_or_default().trim_end_matches([' ', ',']).to_owned();
        return Moment { day: Cow::Owned(day), zone };
    }
    if let Some(day) = text.strip_suffix('Z').filter(|day| day.ends_with(|c: char| c.is_ascii_digit())) {
        return Moment { day: Cow::Owned(day.to_owned()), zone: Some("Z".to_owned()) };
    }
    Moment { day: text, zone: None }
}

/// Replaces every kind of space, such as U+202F before `PM`, by one plain space.
fn plain_spaces(text: &str) -> Cow<'_, str> {
    let mut previous = 'x';
    let is_plain = text.chars().all(|c| {
        let is_plain = !c.is_whitespace() || (c == ' ' && previous != ' ');
        previous = c;
        is_plain
    });
    if is_plain { Cow::Borrowed(text) } else { Cow::Owned(text.split_whitespace().collect::<Vec<_>>().join(" ")) }
}

/// Replaces the words for year, month and day of East Asia: `2024年11月14日` is `2024-11-14`.
fn plain_marks(text: Cow<'_, str>) -> Cow<'_, str> {
    const YEARS: [char; 2] = ['年', '년'];
    if !text.contains(YEARS) {
        return text;
    }
    let marked = text.replace(YEARS, "-").replace(['月', '월'], "-").replace(['日', '일'], "");
    Cow::Owned(marked.replace("- ", "-").trim_end_matches('-').to_owned())
}

fn without_weekday(text: Cow<'_, str>) -> Cow<'_, str> {
    let end = text.find([' ', ',']).unwrap_or(0);
    let Some((word, rest)) = text.split_at_checked(end) else { return text };
    if !word.is_empty() && calendar::is_weekday(word) {
        return Cow::Owned(rest.trim_start_matches([' ', ',']).to_owned());
    }
    text
}

/// Takes up to two digits from the start of a text.
fn take_number(text: &mut &str) -> Option<u8> {
    let digits = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(digits)?;
    *text = rest;
    number.parse().ok()
}

/// Parses a complete time, such as `10:30:45.5 pm +02:00`, and returns its zone.
fn parse_time(text: &str, is_after_t: bool) -> Option<Option<String>> {
    if is_after_t && let Some(zone) = parse_compact_time(text) {
        return Some(zone);
    }
    let mut rest = text;
    let hour = take_number(&mut rest)?;
    let mut has_minutes = false;
    for limit in [59, 60] {
        let Some(after) = rest.strip_prefix(':') else { break };
        rest = after;
        if take_number(&mut rest)? > limit {
            return None;
        }
        has_minutes = true;
    }
    if has_minutes && let Some(fraction) = rest.strip_prefix(['.', ',']) {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    let (is_half, after) = strip_half(rest.trim_start());
    let hours = if is_half { 1..=12 } else { 0..=24 };
    if !hours.contains(&hour) || !(has_minutes || is_half) {
        return None;
    }
    let zone = after.trim_start();
    let zone = zone.strip_prefix("Uhr").map_or(zone, str::trim_start);
    if zone.is_empty() {
        return Some(None);
    }
    is_zone(zone).then(|| Some(zone.to_owned()))
}

/// `103000` or `1030`, with a zone or without.
fn parse_compact_time(text: &str) -> Option<Option<String>> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (time, zone) = text.split_at_checked(digits)?;
    let parts = [time.get(..2), time.get(2..4), time.get(4..6).or(Some("0"))];
    let [hour, minute, second] = parts.map(|part| part.and_then(|part| part.parse::<u8>().ok()));
    let is_valid = matches!(digits, 4 | 6) && hour? <= 24 && minute? <= 59 && second? <= 60;
    match (is_valid, zone) {
        (true, "") => Some(None),
        (true, zone) if is_zone(zone) => Some(Some(zone.to_owned())),
        _ => None,
    }
}

/// Strips `AM`, `pm`, `a.m.` or `P. M.`
fn strip_half(text: &str) -> (bool, &str) {
    let letters: String = text.chars().filter(|c| !matches!(c, '.' | ' ')).take(2).collect();
    if !(letters.eq_ignore_ascii_case("am") || letters.eq_ignore_ascii_case("pm")) {
        return (false, text);
    }
    let end = text.find(['m', 'M']).map_or(text.len(), |at| at + 1);
    let rest = text.get(end..).unwrap_or_default();
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    // `AMT` is a zone, and no half of a day.
    if rest.starts_with(|c: char| c.is_alphanumeric()) { (false, text) } else { (true, rest) }
}

fn is_zone_name(text: &str) -> bool {
    ["Z", "UTC", "GMT"].iter().any(|name| text.eq_ignore_ascii_case(name))
}

/// `Z`, `UTC`, `GMT+0100 (CET)`, `+02:00`, `-05`, `CEST`, `+01:00[Europe/Berlin]`
fn is_zone(text: &str) -> bool {
    let end = text.find([' ', '(', '[']).unwrap_or(text.len());
    let Some((zone, comment)) = text.split_at_checked(end) else { return false };
    let comment = comment.trim_start();
    let is_comment = comment.is_empty()
        || (comment.starts_with('(') && comment.ends_with(')'))
        || (comment.starts_with('[') && comment.ends_with(']'));
    let (name, offset) = zone.split_at_checked(zone.find(['+', '-', '−']).unwrap_or(zone.len())).unwrap_or((zone, ""));
    let is_name = name.len() <= 5 && name.bytes().all(|byte| byte.is_ascii_uppercase() || is_zone_name(name));
    let digits: String = offset.chars().filter(|c| !matches!(c, '+' | '-' | '−' | ':')).collect();
    let is_offset = offset.is_empty() || (matches!(digits.len(), 1..=4) && digits.bytes().all(|b| b.is_ascii_digit()));
    is_comment && is_name && is_offset && !zone.is_empty()
}

#[cfg(test)]
mod tests {
    use super::split;

    fn parts(text: &str) -> (String, Option<String>) {
        let moment = split(text);
        (moment.day.into_owned(), moment.zone)
    }

    #[test]
    fn a_time_is_separated_from_its_day() {
        for (text, day, zone) in [
            ("2024-11-14", "2024-11-14", None),
            ("2024-11-14T10:30:45Z", "2024-11-14", Some("Z")),
            ("2024-11-14 10:30:45.123+02:00", "2024-11-14", Some("+02:00")),
            ("2024-11-14 10:30 UTC", "2024-11-14", Some("UTC")),
            ("2024-11-14 UTC", "2024-11-14", Some("UTC")),
            ("2024-11-14Z", "2024-11-14", Some("Z")),
            ("20241114T103045Z", "20241114", Some("Z")),
            ("11/14/2024, 3:05:00\u{202f}PM", "11/14/2024", None),
            ("11/14/2024 3:05 pm", "11/14/2024", None),
            ("11/14/2024 3:05PM EST", "11/14/2024", Some("EST")),
            ("11/14/2024 3 p.m.", "11/14/2024", None),
            ("11/14/2024  03:05\u{a0}A.M.", "11/14/2024", None),
            ("14 Nov 2024 10:30", "14 Nov 2024", None),
            ("14.11.2024, 10:30 Uhr", "14.11.2024", None),
            ("Thu, 14 Nov 2024 10:30:00 +0000", "14 Nov 2024", Some("+0000")),
            ("Thu Nov 14 2024 10:30:00 GMT+0100 (CET)", "Nov 14 2024", Some("GMT+0100 (CET)")),
            ("2024-11-14T10:30:45+01:00[Europe/Berlin]", "2024-11-14", Some("+01:00[Europe/Berlin]")),
            ("Thursday, November 14, 2024", "November 14, 2024", None),
            ("14 October 2024", "14 October 2024", None),
            ("2024年11月14日", "2024-11-14", None),
            ("2024년 11월 14일", "2024-11-14", None),
            ("2024年11月", "2024-11", None),
            ("2024年11月14日 10:30", "2024-11-14", None),
        ] {
            assert_eq!(parts(text), (day.to_owned(), zone.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn a_time_that_is_none_remains_in_the_day() {
        for text in
            ["2024-11-14 25:00", "2024-11-14 13:00 pm", "2024-11-14 10:75", "2024-11-14 x", "2024-11-14 10:30 maybe"]
        {
            assert_eq!(parts(text).0, text);
        }
    }
}
