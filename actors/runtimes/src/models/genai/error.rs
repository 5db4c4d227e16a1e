//! genai's errors → the classes of [`ModelError`]. A provider's message is truncated and its key is redacted;
//! messages of genai and of the HTTP client are dropped, since they may contain the address, the request or
//! the answer.

use std::time::Duration;

use genai::Error;
use genai::webc::StreamTimeout;
use greenroom_actors::model::{CallPhase, ModelError};
use greenroom_protocol::Json;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::endpoint::Redactor;

/// Maximum characters of a provider's message.
const MESSAGE_CHARS_MAX: usize = 300;
/// Upper bound of a provider's retry delay.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Anthropic's status for "overloaded".
const OVERLOADED: u16 = 529;

/// Classifies an error before the stream.
pub(super) fn classify(error: &Error, redactor: &Redactor) -> ModelError {
    classify_in_stream(error, CallPhase::FirstToken, redactor)
}

/// Classifies an error in the stream, in the current phase.
pub(super) fn classify_in_stream(error: &Error, phase: CallPhase, redactor: &Redactor) -> ModelError {
    match error {
        Error::WebStream { error, .. } => classify_transport(error.as_ref(), phase, redactor),
        Error::HttpError { status, body, headers, .. } => from_response(*status, body, headers, redactor),
        Error::ChatResponse { body, .. } => from_event(body, redactor),
        Error::StreamParse { .. }
        | Error::JsonValueExt(_)
        | Error::SerdeJson(_)
        | Error::InvalidJsonResponseElement { .. } => {
            ModelError::MalformedResponse { message: "an event of the answer is not valid JSON of its type".to_owned() }
        }
        Error::RequiresApiKey { .. } | Error::NoAuthData { .. } | Error::NoAuthResolver { .. } => {
            ModelError::Unauthorized { status: 401 }
        }
        other => match (other.status(), other.headers()) {
            (Some(status), Some(headers)) => from_response(status, "", headers, redactor),
            (Some(_) | None, _) => ModelError::Rejected {
                status: 400,
                message: "the request cannot be written for this provider".to_owned(),
            },
        },
    }
}

fn classify_transport(
    error: &(dyn std::error::Error + Send + Sync + 'static),
    phase: CallPhase,
    redactor: &Redactor,
) -> ModelError {
    if let Some(error) = error.downcast_ref::<Error>() {
        return classify_in_stream(error, phase, redactor);
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

/// Classifies a response with an error status.
fn from_response(status: StatusCode, body: &str, headers: &HeaderMap, redactor: &Redactor) -> ModelError {
    let document: Json = serde_json::from_str(body).unwrap_or(Json::Null);
    let (kind, text) = kind_and_message(&document);
    let message = redactor.redact(&text, MESSAGE_CHARS_MAX);
    match status.as_u16() {
        429 if kind.contains("insufficient_quota") => ModelError::Rejected { status: 429, message },
        status @ (429 | 503 | OVERLOADED) => ModelError::Overloaded { status, retry_after: retry_after(headers) },
        status @ (401 | 403) => ModelError::Unauthorized { status },
        400 | 413 | 422 if is_overflow(&kind, &text) => context_overflow(&text),
        408 | 504 => ModelError::TimedOut { phase: CallPhase::FirstToken },
        status @ 400..=499 => ModelError::Rejected { status, message },
        status => ModelError::Failed { status: Some(status), message },
    }
}

/// Classifies an error that is an event of the stream.
fn from_event(body: &Json, redactor: &Redactor) -> ModelError {
    let (kind, text) = kind_and_message(body);
    let message = redactor.redact(&text, MESSAGE_CHARS_MAX);
    match kind.as_str() {
        kind if kind.contains("overloaded") => ModelError::Overloaded { status: OVERLOADED, retry_after: None },
        kind if kind.contains("rate_limit") => ModelError::Overloaded { status: 429, retry_after: None },
        kind if kind.contains("authentication") || kind.contains("permission") => {
            ModelError::Unauthorized { status: 401 }
        }
        kind if is_overflow(kind, &text) => context_overflow(&text),
        kind if kind.contains("invalid_request") => ModelError::Rejected { status: 400, message },
        _ => ModelError::Failed { status: None, message },
    }
}

/// Finds the kind and the message of an error in each provider's format.
fn kind_and_message(document: &Json) -> (String, String) {
    let inner = document.get("error").unwrap_or(document);
    let member = |name: &str| inner.get(name).and_then(Json::as_str).unwrap_or_default();
    let kind = format!("{} {}", member("type"), member("code")).to_lowercase();
    let message = match inner {
        Json::String(message) => message.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => member("message").to_owned(),
    };
    (kind, message)
}

fn is_overflow(kind: &str, message: &str) -> bool {
    let message = message.to_lowercase();
    kind.contains("context_length_exceeded")
        || message.contains("prompt is too long")
        || message.contains("maximum context length")
        || message.contains("context window")
}

/// Reads requested tokens and limit from the message, if it has them: the larger of its two numbers was
/// requested, the smaller one is the limit.
fn context_overflow(message: &str) -> ModelError {
    let plain = message.replace(',', "");
    let mut numbers: Vec<u64> = plain
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .filter(|number| *number >= 256)
        .collect();
    numbers.sort_unstable();
    let (limit, requested) = match numbers.as_slice() {
        [] => (None, None),
        [limit] => (Some(*limit), None),
        [limit, .., requested] => (Some(*limit), Some(*requested)),
    };
    ModelError::ContextOverflow { requested, limit }
}

/// Parses `Retry-After`: milliseconds, seconds, or a date, which is compared with the server's date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(milliseconds) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return clamp_delay(milliseconds / 1000.0);
    }
    let value = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = value.parse::<f64>() {
        return clamp_delay(seconds);
    }
    let parse_date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp());
    let (retry_at, now) = (parse_date(value)?, parse_date(text(DATE.as_str())?)?);
    clamp_delay((retry_at - now).total(jiff::Unit::Second).ok()?)
}

fn clamp_delay(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.max(0.0)).ok().map(|after| after.min(RETRY_AFTER_MAX))
}

/// True if the provider rejected the request because it does not support the schema mechanism.
pub(super) fn is_schema_rejection(error: &ModelError) -> bool {
    match error {
        ModelError::Rejected { status: 400 | 404 | 422, message } => {
            let message = message.to_lowercase();
            ["output_config", "output_format", "response_format", "json_schema", "structured output"]
                .iter()
                .any(|word| message.contains(word))
        }
        ModelError::Rejected { .. }
        | ModelError::Unreachable
        | ModelError::Overloaded { .. }
        | ModelError::Unauthorized { .. }
        | ModelError::ContextOverflow { .. }
        | ModelError::Failed { .. }
        | ModelError::MalformedResponse { .. }
        | ModelError::Unanswerable { .. }
        | ModelError::TimedOut { .. } => false,
    }
}

#[cfg(test)]
mod tests;
