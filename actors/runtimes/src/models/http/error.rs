//! Failures of servers → the classes of [`ModelError`]. A provider's message is truncated and its key is redacted where
//! the error leaves this module; messages of the HTTP client are dropped, since they may contain the address, the
//! request or the answer.

mod context_limit;
mod report;

use greenroom_actors::model::{CallPhase, ModelError};
use greenroom_protocol::Json;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use report::Reported;

use super::endpoint::Redactor;
use crate::outbound::retry_after;

/// Maximum characters of a provider's message.
const MESSAGE_CHARS_MAX: usize = 300;
/// The message for a redirection.
const REDIRECTED: &str =
    "it redirects to another address, which is not followed; the address of the provider has to be that one";
/// Anthropic's status for "overloaded".
const OVERLOADED: u16 = 529;
/// Words of the kind of failure if a key is not accepted.
const UNAUTHORIZED_KINDS: [&str; 4] = ["authentication", "permission", "api_key", "unauthorized"];

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
pub(super) fn from_response(status: StatusCode, body: &str, headers: &HeaderMap) -> ModelError {
    let reported = Reported::from_body(body);
    match status.as_u16() {
        429 if reported.is_quota() => ModelError::Rejected { status: 429, message: reported.message },
        status @ (429 | 503 | OVERLOADED) => {
            ModelError::Overloaded { status, retry_after: retry_after::parse(headers).or(reported.retry_after) }
        }
        status @ (401 | 403) => ModelError::Unauthorized { status },
        400.. if reported.is_overflow() => context_overflow(&reported),
        408 | 504 => ModelError::TimedOut { phase: CallPhase::FirstToken },
        status @ 400..=499 => ModelError::Rejected { status, message: or_no_message(reported.message) },
        // The request was read by no model.
        status @ 300..=399 => ModelError::Rejected { status, message: REDIRECTED.to_owned() },
        status => ModelError::Failed {
            status: Some(status),
            message: format!("status {status}: {}", or_no_message(reported.message)),
        },
    }
}

/// Classifies an error that is an event of the stream.
pub(super) fn from_event(body: &Json) -> ModelError {
    let reported = Reported::parse(body);
    let mentions = |word: &str| reported.kind.contains(word);
    let retry_after = reported.retry_after;
    match reported.status {
        _ if reported.is_overflow() => context_overflow(&reported),
        _ if reported.is_quota() => ModelError::Rejected { status: 429, message: reported.message },
        _ if mentions("overloaded") => ModelError::Overloaded { status: OVERLOADED, retry_after },
        _ if mentions("rate_limit") => ModelError::Overloaded { status: 429, retry_after },
        Some(status @ (429 | 503 | OVERLOADED)) => ModelError::Overloaded { status, retry_after },
        Some(408 | 504) => ModelError::TimedOut { phase: CallPhase::FirstToken },
        _ if UNAUTHORIZED_KINDS.iter().any(|kind| mentions(kind)) => ModelError::Unauthorized { status: 401 },
        Some(status @ (401 | 403)) => ModelError::Unauthorized { status },
        _ if mentions("invalid_request") => ModelError::Rejected { status: 400, message: reported.message },
        Some(status @ 400..=499) => ModelError::Rejected { status, message: reported.message },
        Some(status @ 500..=599) => {
            let message = format!("status {status}: {}", or_no_message(reported.message));
            ModelError::Failed { status: None, message }
        }
        Some(_) | None => ModelError::Failed { status: None, message: or_no_message(reported.message) },
    }
}

/// Classifies a document that reports something instead of an answer and has no member of an error. What it does not
/// classify itself is a rejection: no model has answered, and the next request would be answered likewise.
pub(super) fn from_other_document(body: &Json) -> ModelError {
    match from_event(body) {
        ModelError::Failed { message, .. } => ModelError::Rejected { status: 200, message },
        other => other,
    }
}

/// The error as it leaves this module: without the key, and shortened. Until then an error has the words of the server
/// in full, because a rejected part of a request is recognized in them.
pub(super) fn presentable(error: ModelError, redactor: &Redactor) -> ModelError {
    let present = |message: String| redactor.redact(&message, MESSAGE_CHARS_MAX);
    match error {
        ModelError::Rejected { status, message } => ModelError::Rejected { status, message: present(message) },
        ModelError::Failed { status, message } => ModelError::Failed { status, message: present(message) },
        ModelError::MalformedResponse { message } => ModelError::MalformedResponse { message: present(message) },
        error @ (ModelError::Overloaded { .. }
        | ModelError::Unreachable
        | ModelError::Unauthorized { .. }
        | ModelError::ContextOverflow { .. }
        | ModelError::Unanswerable { .. }
        | ModelError::TimedOut { .. }) => error,
    }
}

fn context_overflow(reported: &Reported) -> ModelError {
    let (requested, limit) = reported.context_limits();
    ModelError::ContextOverflow { requested, limit }
}

fn or_no_message(message: String) -> String {
    if message.is_empty() { "the server sent no message".to_owned() } else { message }
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
