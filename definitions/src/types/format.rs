//! Formats of texts, such as a date. Each is checked by the crate that implements its standard.

use email_address::{EmailAddress, Options};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::temporal::SpanParser;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

mod codes;

/// The format of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A date: `2024-12-31`.
    Date,
    /// A moment with its offset (RFC 3339): `2024-12-31T23:59:00Z`.
    DateTime,
    /// A duration (ISO 8601): `P1DT12H`.
    Duration,
    /// An e-mail address: `name@example.org`.
    Email,
    /// An absolute URI: `https://example.org/a`.
    Uri,
    /// A currency (ISO 4217): `EUR`.
    #[serde(rename = "iso-4217")]
    Iso4217,
    /// A country (ISO 3166-1): `DE`.
    #[serde(rename = "iso-3166")]
    Iso3166,
}

impl Format {
    /// Every format that a definition may name.
    pub const ALL: &'static [Self] =
        &[Self::Date, Self::DateTime, Self::Duration, Self::Email, Self::Uri, Self::Iso4217, Self::Iso3166];

    /// The name of the format as a definition writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::DateTime => "date-time",
            Self::Duration => "duration",
            Self::Email => "email",
            Self::Uri => "uri",
            Self::Iso4217 => "iso-4217",
            Self::Iso3166 => "iso-3166",
        }
    }

    /// Describes the format, with an example, for a message and for a model.
    #[must_use]
    pub const fn described(self) -> &'static str {
        match self {
            Self::Date => "a date such as 2024-12-31",
            Self::DateTime => "a date and time with its offset such as 2024-12-31T23:59:00Z",
            Self::Duration => "a duration of ISO 8601 such as P1DT12H",
            Self::Email => "an e-mail address such as name@example.org",
            Self::Uri => "an absolute URI such as https://example.org/a",
            Self::Iso4217 => "a currency code of ISO 4217 such as EUR",
            Self::Iso3166 => "a country code of ISO 3166 such as DE",
        }
    }

    /// The name of the format in JSON Schema, if it has one.
    #[must_use]
    pub const fn json_schema_format(self) -> Option<&'static str> {
        match self {
            Self::Date => Some("date"),
            Self::DateTime => Some("date-time"),
            Self::Duration => Some("duration"),
            Self::Email => Some("email"),
            Self::Uri => Some("uri"),
            Self::Iso4217 | Self::Iso3166 => None,
        }
    }

    /// The pattern that stands for a format which JSON Schema lacks.
    #[must_use]
    pub const fn json_schema_pattern(self) -> Option<&'static str> {
        match self {
            Self::Iso4217 => Some("^[A-Z]{3}$"),
            Self::Iso3166 => Some("^[A-Z]{2}$"),
            Self::Date | Self::DateTime | Self::Duration | Self::Email | Self::Uri => None,
        }
    }

    /// True if the text has the format.
    #[must_use]
    pub fn accepts(self, text: &str) -> bool {
        match self {
            Self::Date => is_shaped(text, "dddd-dd-dd") && text.parse::<Date>().is_ok(),
            Self::DateTime => is_date_time(text),
            // The parser also accepts words for its designators, and signs, which ISO 8601 lacks.
            Self::Duration => text.starts_with('P') && SpanParser::new().parse_span(text).is_ok(),
            Self::Email => {
                let options = Options::default().with_required_tld().without_domain_literal().without_display_text();
                EmailAddress::parse_with_options(text, options).is_ok()
            }
            Self::Uri => is_uri(text),
            Self::Iso4217 => codes::is_currency(text),
            Self::Iso3166 => codes::is_country(text),
        }
    }
}

/// True if the text has this shape, in which `d` is a digit. The parsers of dates accept more forms than the
/// standards name, such as `20241231`.
fn is_shaped(text: &str, shape: &str) -> bool {
    let fits = |(byte, kind): (u8, u8)| if kind == b'd' { byte.is_ascii_digit() } else { byte == kind };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

fn is_date_time(text: &str) -> bool {
    let Some((moment, rest)) = text.split_at_checked("2024-12-31T23:59:00".len()) else { return false };
    let fraction_end = match rest.strip_prefix('.') {
        Some(digits) => 1 + digits.bytes().take_while(u8::is_ascii_digit).count(),
        None => 0,
    };
    let Some((fraction, offset)) = rest.split_at_checked(fraction_end) else { return false };
    is_shaped(moment, "dddd-dd-ddTdd:dd:dd")
        && fraction != "."
        && (offset == "Z" || is_shaped(offset, "+dd:dd") || is_shaped(offset, "-dd:dd"))
        && text.parse::<Timestamp>().is_ok()
}

/// The parser repairs what a browser repairs, such as a space; each repair is a violation here.
fn is_uri(text: &str) -> bool {
    let has_violation = std::cell::Cell::new(false);
    let on_violation = |_| has_violation.set(true);
    let parsed = Url::options().syntax_violation_callback(Some(&on_violation)).parse(text);
    parsed.is_ok() && !has_violation.get() && text.is_ascii()
}

#[cfg(test)]
mod tests;
