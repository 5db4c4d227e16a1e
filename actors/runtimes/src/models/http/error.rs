//! Failures of servers → the classes of [`ModelError`]. A provider's message is truncated and its key is redacted;
//! messages of the HTTP client are dropped, since they may contain the address, the request or the answer.

mod context_limit;

use std::time::Duration;

use greenroom_actors::model::{CallPhase, ModelError};
use greenroom_protocol::Json;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::endpoint::Redactor;
use crate::outbound::retry_after;

/// Maximum characters of a provider's message.
const MESSAGE_CHARS_MAX: usize = 300;
/// The message for a redirection.
const REDIRECTED: &str =
    "it redirects to another address, which is not followed; the address of the provider has to be that one";
/// Anthropic's status for "overloaded".
const OVERLOADED: u16 = 529;

/// Classifies an error of the HTTP client in this phase of a call.
pub(super) fn from_transport(error: &reqwest::Error, phase: CallPhase) -> ModelError {
    if error.is_connect() && error.is_timeout() {
        return ModelError::TimedOut { phase: CallPhase::Connect };
    }
    // DNS, TCP and TLS fail before the first byte of the request.
    if error.is_connect() {
        return ModelError::Unreachable;
    }
    if error.is_builder() {
        return unwritable();
    }
    if error.is_timeout() {
        return ModelError::TimedOut { phase };
    }
    ModelError::Failed { status: None, message: "the connection broke off".to_owned() }
}

/// The failure of a request that cannot be written.
pub(super) fn unwritable() -> ModelError {
    ModelError::Rejected { status: 400, message: "the request cannot be written for this provider".to_owned() }
}

/// Classifies a response with an error status.
pub(super) fn from_response(status: StatusCode, body: &str, headers: &HeaderMap, redactor: &Redactor) -> ModelError {
    let reported = Reported::parse(&serde_json::from_str(body).unwrap_or(Json::Null));
    let message = redactor.redact(&reported.message, MESSAGE_CHARS_MAX);
    match status.as_u16() {
        429 if reported.is_quota() => ModelError::Rejected { status: 429, message },
        status @ (429 | 503 | OVERLOADED) => {
            ModelError::Overloaded { status, retry_after: retry_after::parse(headers).or(reported.retry_after) }
        }
        status @ (401 | 403) => ModelError::Unauthorized { status },
        400.. if reported.is_overflow() => reported.context_overflow(),
        408 | 504 => ModelError::TimedOut { phase: CallPhase::FirstToken },
        status @ 400..=499 => ModelError::Rejected { status, message },
        // The request was read by no model.
        status @ 300..=399 => ModelError::Rejected { status, message: REDIRECTED.to_owned() },
        status => ModelError::Failed { status: Some(status), message },
    }
}

/// Classifies an error that is an event of the stream.
pub(super) fn from_event(body: &Json, redactor: &Redactor) -> ModelError {
    let reported = Reported::parse(body);
    let message = redactor.redact(&reported.message, MESSAGE_CHARS_MAX);
    let mentions = |word: &str| reported.kind.contains(word);
    let retry_after = reported.retry_after;
    match reported.status {
        _ if reported.is_overflow() => reported.context_overflow(),
        _ if reported.is_quota() => ModelError::Rejected { status: 429, message },
        _ if mentions("overloaded") => ModelError::Overloaded { status: OVERLOADED, retry_after },
        _ if mentions("rate_limit") => ModelError::Overloaded { status: 429, retry_after },
        Some(status @ (429 | 503 | OVERLOADED)) => ModelError::Overloaded { status, retry_after },
        Some(408 | 504) => ModelError::TimedOut { phase: CallPhase::FirstToken },
        _ if mentions("authentication") || mentions("permission") => ModelError::Unauthorized { status: 401 },
        Some(status @ (401 | 403)) => ModelError::Unauthorized { status },
        _ if mentions("invalid_request") => ModelError::Rejected { status: 400, message },
        Some(status @ 400..=499) => ModelError::Rejected { status, message },
        Some(_) | None => ModelError::Failed { status: None, message },
    }
}

/// What a server reports about its failure, in the format of whichever server it is.
#[derive(Debug, PartialEq, Eq)]
struct Reported {
    /// Its words for the kind of failure, in lower case.
    kind: String,
    message: String,
    /// The HTTP status in the text, if there is one.
    status: Option<u16>,
    /// The tokens of the request, if they have a member of their own.
    requested: Option<u64>,
    /// The limit of the model, likewise.
    limit: Option<u64>,
    /// The delay of a retry, which Google's endpoints state here and in no header.
    retry_after: Option<Duration>,
}

impl Reported {
    /// Reads an error: an object, its member `error`, the first of a list, or a text. FastAPI's servers report
    /// `detail`, Google's endpoints a list.
    fn parse(document: &Json) -> Self {
        let document = document.as_array().and_then(|all| all.first()).unwrap_or(document);
        let inner = document.get("error").filter(|error| !error.is_null()).unwrap_or(document);
        let text = |name: &str| match inner.get(name) {
            Some(Json::String(text)) => text.clone(),
            Some(number @ Json::Number(_)) => number.to_string(),
            Some(Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_)) | None => String::new(),
        };
        let number = |name: &str| inner.get(name).and_then(Json::as_u64);
        let status = number("code").or_else(|| number("status")).or_else(|| text("code").parse().ok());
        let message = match inner {
            Json::String(message) => message.clone(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                ["message", "detail"].iter().map(|name| text(name)).find(|text| !text.is_empty()).unwrap_or_default()
            }
        };
        Self {
            kind: format!("{} {} {}", text("type"), text("code"), text("status")).to_lowercase(),
            message,
            status: status.and_then(|status| u16::try_from(status).ok()),
            requested: number("n_prompt_tokens"),
            limit: number("n_ctx"),
            retry_after: retry_delay(inner),
        }
    }

    /// True if there is no money left for the call, which no retry changes.
    fn is_quota(&self) -> bool {
        self.kind.contains("insufficient_quota")
    }

    fn is_overflow(&self) -> bool {
        context_limit::is_overflow(&self.kind, &self.message)
    }

    fn context_overflow(&self) -> ModelError {
        let (requested, limit) = context_limit::read(&self.message);
        ModelError::ContextOverflow { requested: self.requested.or(requested), limit: self.limit.or(limit) }
    }
}

/// The delay of `google.rpc.RetryInfo`, such as `"34.07s"`.
fn retry_delay(error: &Json) -> Option<Duration> {
    let details = error.get("details")?.as_array()?;
    let text = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str())?;
    retry_after::from_seconds(text.strip_suffix('s')?.parse().ok()?)
}

/// True if a member of a stream's event is empty: gateways put `"error": null` and the like into every event.
pub(super) fn is_blank(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(false) => true,
        Json::Bool(true) => false,
        Json::Number(number) => number.as_f64() == Some(0.0),
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.iter().all(is_blank),
        Json::Object(members) => members.values().all(is_blank),
    }
}

#[cfg(test)]
mod tests;
