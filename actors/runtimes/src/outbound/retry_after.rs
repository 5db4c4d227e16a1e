//! The delay after which a server may be called again, for models and services.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// Upper bound of the delay that a server may demand.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Parses `Retry-After`: milliseconds, seconds, or a date, which is compared with the server's date. A delay that has
/// passed is zero, and the back-off of the platform applies.
pub(crate) fn parse(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(milliseconds) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return from_seconds(milliseconds / 1000.0);
    }
    let value = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = value.parse::<f64>() {
        return from_seconds(seconds);
    }
    let parse_date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp());
    let (retry_at, now) = (parse_date(value)?, parse_date(text(DATE.as_str())?)?);
    from_seconds((retry_at - now).total(jiff::Unit::Second).ok()?)
}

/// A delay of this many seconds, within the bound; `None` for what is no number.
pub(crate) fn from_seconds(seconds: f64) -> Option<Duration> {
    if seconds.is_nan() {
        return None;
    }
    Duration::try_from_secs_f64(seconds.clamp(0.0, RETRY_AFTER_MAX.as_secs_f64())).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn delay(headers: &[(&'static str, &'static str)]) -> Option<u64> {
        let pair = |&(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        parse(&headers.iter().map(pair).collect::<HeaderMap>()).map(|after| u64::try_from(after.as_millis()).unwrap())
    }

    #[test]
    fn a_delay_is_read_in_each_form_and_bounded() {
        let day = Some(86_400_000);
        for (value, expected) in [
            ("0", Some(0)),
            ("-5", Some(0)),
            ("1.5", Some(1_500)),
            (" 7 ", Some(7_000)),
            ("1e30", day),
            ("inf", day),
            ("NaN", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(delay(&[("retry-after", value)]), expected, "{value}");
        }
        assert_eq!(delay(&[("retry-after-ms", "250"), ("retry-after", "9")]), Some(250));
        assert_eq!(delay(&[("retry-after-ms", "soon"), ("retry-after", "9")]), Some(9_000));
        let at = |retry: &'static str| delay(&[("date", "Wed, 21 Oct 2015 07:28:00 GMT"), ("retry-after", retry)]);
        assert_eq!(at("Wed, 21 Oct 2015 07:28:30 GMT"), Some(30_000));
        assert_eq!(at("Wed, 21 Oct 2015 07:27:30 GMT"), Some(0), "a time that has passed");
        assert_eq!(at("Mon, 21 Oct 2115 07:28:30 GMT"), day);
        assert_eq!(delay(&[("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT")]), None, "the server's time is unknown");
    }
}
