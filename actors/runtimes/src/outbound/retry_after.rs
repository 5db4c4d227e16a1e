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
        return clamp(milliseconds / 1000.0);
    }
    let value = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = value.parse::<f64>() {
        return clamp(seconds);
    }
    let parse_date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp());
    let (retry_at, now) = (parse_date(value)?, parse_date(text(DATE.as_str())?)?);
    clamp((retry_at - now).total(jiff::Unit::Second).ok()?)
}

fn clamp(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.max(0.0)).ok().map(|after| after.min(RETRY_AFTER_MAX))
}
