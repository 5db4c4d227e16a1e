//! Dates that are written as one number: the days of spreadsheets, and the seconds of Unix.

use jiff::ToSpan;
use jiff::civil::{Date, date};

/// Days of spreadsheets that are read as dates: from 1954 to 2119. Smaller and larger numbers are figures.
const SPREADSHEET_DAYS: std::ops::RangeInclusive<i64> = 20_000..=80_000;
/// Seconds since 1970 that are read as dates: from 1973 to 2099.
const UNIX_SECONDS: std::ops::RangeInclusive<i64> = 100_000_000..=4_102_444_799;
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// The whole number before a point or a comma.
fn integer(text: &str) -> Option<i64> {
    let (integer, fraction) = text.split_once(['.', ',']).unwrap_or((text, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(integer) && is_number(fraction)).then(|| integer.parse().ok()).flatten()
}

/// The date of a day as spreadsheets count it; a fraction is a time.
pub(super) fn spreadsheet_day(text: &str) -> Option<Date> {
    let day = integer(text).filter(|day| SPREADSHEET_DAYS.contains(day))?;
    date(1899, 12, 30).checked_add(day.days()).ok()
}

/// The day in UTC of a time since 1970, in units of which a second has `per_second`.
pub(super) fn unix_day(text: &str, per_second: i64) -> Option<Date> {
    let seconds = integer(text)?.div_euclid(per_second);
    let seconds = Some(seconds).filter(|seconds| UNIX_SECONDS.contains(seconds))?;
    date(1970, 1, 1).checked_add((seconds / SECONDS_PER_DAY).days()).ok()
}
