//! genai's errors → the classes that decide what happens next. No text of a provider passes through
//! uncut or with a key in it, and no text of genai or of the HTTP client passes through at all: they
//! may name the address, the request or the answer.

use std::time::Duration;

use genai::Error;
use genai::webc::StreamTimeout;
use greenroom_actors::model::{CallPhase, ModelError};
use greenroom_protocol::Json;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::endpoint::Redactor;

/// Characters of a provider's words.
const WORDS_MAX: usize = 300;
/// A provider that asks for more is taken at its word no further.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Anthropic's own status for "overloaded".
const OVERLOADED: u16 = 529;

/// The class of an error before the stream.
pub(super) fn of(error: &Error, scrub: &Redactor) -> ModelError {
    in_stream(error, CallPhase::FirstToken, scrub)
}

/// The class of an error in the stream; `phase` is what was waited for.
pub(super) fn in_stream(error: &Error, phase: CallPhase, scrub: &Redactor) -> ModelError {
    match error {
        Error::WebStream { error, .. } => in_transport(error.as_ref(), phase, scrub),
        Error::HttpError { status, body, headers, .. } => refused(*status, body, headers, scrub),
        Error::ChatResponse { body, .. } => told(body, scrub),
        Error::StreamParse { .. }
        | Error::JsonValueExt(_)
        | Error::SerdeJson(_)
        | Error::InvalidJsonResponseElement { .. } => {
            ModelError::MalformedResponse { message: "an event of the answer is no JSON of its kind".to_owned() }
        }
        Error::RequiresApiKey { .. } | Error::NoAuthData { .. } | Error::NoAuthResolver { .. } => {
            ModelError::Unauthorized { status: 401 }
        }
        other => match (other.status(), other.headers()) {
            (Some(status), Some(headers)) => refused(status, "", headers, scrub),
            (Some(_) | None, _) => ModelError::Rejected {
                status: 400,
                message: "the request cannot be written for this provider".to_owned(),
            },
        },
    }
}

fn in_transport(
    error: &(dyn std::error::Error + Send + Sync + 'static),
    phase: CallPhase,
    scrub: &Redactor,
) -> ModelError {
    if let Some(error) = error.downcast_ref::<Error>() {
        return in_stream(error, phase, scrub);
    }
    if let Some(timeout) = error.downcast_ref::<StreamTimeout>() {
        let phase = match timeout {
            StreamTimeout::Headers => CallPhase::FirstToken,
            StreamTimeout::Read => phase,
        };
        return ModelError::TimedOut { phase };
    }
    let failed = |message: &str| ModelError::Failed { status: None, message: message.to_owned() };
    match error.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_connect() && error.is_timeout() => ModelError::TimedOut { phase: CallPhase::Connect },
        // DNS, TCP and TLS fail before the first byte of the request.
        Some(error) if error.is_connect() => ModelError::Unreachable,
        Some(error) if error.is_timeout() => ModelError::TimedOut { phase },
        Some(_) => failed("the connection broke off"),
        None => ModelError::MalformedResponse { message: "the answer is not UTF-8".to_owned() },
    }
}

/// An answer with a status that is no success.
fn refused(status: StatusCode, body: &str, headers: &HeaderMap, scrub: &Redactor) -> ModelError {
    let document: Json = serde_json::from_str(body).unwrap_or(Json::Null);
    let (kind, words) = words_of(&document);
    let message = scrub.redact(&words, WORDS_MAX);
    match status.as_u16() {
        429 if kind.contains("insufficient_quota") => ModelError::Rejected { status: 429, message },
        status @ (429 | 503 | OVERLOADED) => ModelError::Overloaded { status, retry_after: retry_after(headers) },
        status @ (401 | 403) => ModelError::Unauthorized { status },
        400 | 413 | 422 if is_overflow(&kind, &words) => overflow(&words),
        408 | 504 => ModelError::TimedOut { phase: CallPhase::FirstToken },
        status @ 400..=499 => ModelError::Rejected { status, message },
        status => ModelError::Failed { status: Some(status), message },
    }
}

/// An error that came as an event of the stream.
fn told(body: &Json, scrub: &Redactor) -> ModelError {
    let (kind, words) = words_of(body);
    let message = scrub.redact(&words, WORDS_MAX);
    match kind.as_str() {
        kind if kind.contains("overloaded") => ModelError::Overloaded { status: OVERLOADED, retry_after: None },
        kind if kind.contains("rate_limit") => ModelError::Overloaded { status: 429, retry_after: None },
        kind if kind.contains("authentication") || kind.contains("permission") => {
            ModelError::Unauthorized { status: 401 }
        }
        kind if is_overflow(kind, &words) => overflow(&words),
        kind if kind.contains("invalid_request") => ModelError::Rejected { status: 400, message },
        _ => ModelError::Failed { status: None, message },
    }
}

/// The kind and the words of an error, wherever the provider puts them.
fn words_of(document: &Json) -> (String, String) {
    let inner = document.get("error").unwrap_or(document);
    let text = |name: &str| inner.get(name).and_then(Json::as_str).unwrap_or_default();
    let kind = format!("{} {}", text("type"), text("code")).to_lowercase();
    let words = match inner {
        Json::String(words) => words.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => text("message").to_owned(),
    };
    (kind, words)
}

fn is_overflow(kind: &str, words: &str) -> bool {
    let words = words.to_lowercase();
    kind.contains("context_length_exceeded")
        || words.contains("prompt is too long")
        || words.contains("maximum context length")
        || words.contains("context window")
}

/// By how much the request does not fit, if the words say so: the larger of their two numbers was
/// asked for, the smaller one fits.
fn overflow(words: &str) -> ModelError {
    let plain = words.replace(',', "");
    let mut numbers: Vec<u64> = plain
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .filter(|number| *number >= 256)
        .collect();
    numbers.sort_unstable();
    let (limit, asked) = match numbers.as_slice() {
        [] => (None, None),
        [limit] => (Some(*limit), None),
        [limit, .., asked] => (Some(*limit), Some(*asked)),
    };
    ModelError::ContextOverflow { asked, limit }
}

/// What `Retry-After` says: milliseconds, seconds, or a date, which is compared with the server's own.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(milliseconds) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return bounded(milliseconds / 1000.0);
    }
    let said = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = said.parse::<f64>() {
        return bounded(seconds);
    }
    let moment = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|moment| moment.timestamp());
    let (then, now) = (moment(said)?, moment(text(DATE.as_str())?)?);
    bounded((then - now).total(jiff::Unit::Second).ok()?)
}

fn bounded(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.max(0.0)).ok().map(|after| after.min(RETRY_AFTER_MAX))
}

/// True if the provider refuses the request because of its mechanism for structured answers.
pub(super) fn is_schema_rejection(error: &ModelError) -> bool {
    match error {
        ModelError::Rejected { status: 400 | 404 | 422, message } => {
            let words = message.to_lowercase();
            ["output_config", "output_format", "response_format", "json_schema", "structured output"]
                .iter()
                .any(|word| words.contains(word))
        }
        ModelError::Rejected { .. }
        | ModelError::Unreachable
        | ModelError::Overloaded { .. }
        | ModelError::Unauthorized { .. }
        | ModelError::ContextOverflow { .. }
        | ModelError::Failed { .. }
        | ModelError::MalformedResponse { .. }
        | ModelError::TimedOut { .. } => false,
    }
}

#[cfg(test)]
mod tests;
