//! Failures of servers, and responses with an error status → causes. What a server writes is data: it is truncated, its
//! lines are joined, and secrets of the configuration are removed. Messages of the HTTP client are dropped, since they may
//! contain the address with its parameters.

use std::error::Error as _;
use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode, Json};
use reqwest::StatusCode;
use serde_json::json;

use super::address::AddressClass;
use super::credentials::Credentials;
use super::observer::CallOutcome;
use super::resolver::RefusedAddress;
use super::response::OutboundResponse;
use super::retry_after;

/// Maximum bytes of a server's text in a message.
const MESSAGE_BYTES_MAX: usize = 500;
/// Maximum bytes of the type of a problem in the details.
const TYPE_BYTES_MAX: usize = 200;
/// The delay that is reported if a server without capacity does not demand one.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_millis(500);

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutboundError {
    /// The URL is none that a request can be sent to.
    InvalidUrl(&'static str),
    /// The URL has no TLS, and the host is not allowed to be private.
    Insecure,
    /// The address is one to which nothing may be sent.
    Refused(AddressClass),
    /// A redirect that is not followed.
    Redirect(String),
    /// This machine has no client, for instance because it has no root certificates.
    NoClient(String),
    /// No connection could be made, so nothing was sent.
    Unreachable,
    /// The response was not complete in time.
    TimedOut(Duration),
    /// The connection broke off.
    BrokenOff,
    /// The response cannot be read.
    Unreadable(String),
}

impl OutboundError {
    /// Classifies an error of the HTTP client.
    pub(super) fn from_transport(error: &reqwest::Error) -> Self {
        let mut source = error.source();
        while let Some(inner) = source {
            if let Some(RefusedAddress(class)) = inner.downcast_ref() {
                return Self::Refused(*class);
            }
            source = inner.source();
        }
        if error.is_connect() {
            // DNS, TCP and TLS fail before the first byte of the request.
            Self::Unreachable
        } else if error.is_builder() {
            Self::InvalidUrl("the request cannot be written")
        } else {
            Self::BrokenOff
        }
    }

    /// What it is for the metrics.
    pub(super) const fn outcome(&self) -> CallOutcome {
        match self {
            Self::InvalidUrl(_) | Self::Insecure | Self::Refused(_) => CallOutcome::Refused,
            Self::TimedOut(_) => CallOutcome::TimedOut,
            Self::Redirect(_) | Self::NoClient(_) | Self::Unreachable | Self::BrokenOff | Self::Unreadable(_) => {
                CallOutcome::Failed
            }
        }
    }

    /// The cause, for a server that is named like this.
    pub(crate) fn cause(&self, server: &str) -> Cause {
        let refused = |text: String| Cause::new(ErrorCode::AddressNotAllowed, text);
        let failed = |text: String| Cause::new(ErrorCode::ServiceFailed, text);
        match self {
            Self::InvalidUrl(reason) => refused(format!("nothing was sent to {server}: {reason}")),
            Self::Insecure => refused(format!(
                "nothing was sent to {server}: without TLS, only hosts are called that the configuration allows to be \
                 private (`allow_private`)"
            )),
            Self::Refused(class) if class.is_allowed(true) => refused(format!(
                "nothing was sent to {server}: it has {}, which the configuration does not allow (`allow_private`)",
                class.as_str()
            )),
            Self::Refused(class) => {
                refused(format!("nothing was sent to {server}: it has {}, to which nothing is sent", class.as_str()))
            }
            Self::Redirect(reason) => refused(format!("the redirect of {server} is not followed: {reason}")),
            Self::NoClient(problem) => Cause::new(
                ErrorCode::InvalidConfiguration,
                format!("nothing was sent to {server}: the HTTP client cannot be built: {problem}"),
            ),
            Self::Unreachable => failed(format!("{server} cannot be reached")),
            Self::TimedOut(timeout) => Cause::new(
                ErrorCode::TimedOut,
                format!("{server} had not sent its whole response within {} ms", timeout.as_millis()),
            ),
            Self::BrokenOff => failed(format!("the connection to {server} broke off")),
            Self::Unreadable(reason) => failed(format!("the response of {server} cannot be read: {reason}")),
        }
    }
}

/// The cause for a response with an error status. It is a problem of RFC 9457, or any other text.
pub(crate) fn cause_from_status(response: &OutboundResponse, server: &str, credentials: &Credentials) -> Cause {
    let status = response.status;
    let document: Json = match response.is_json() {
        true => serde_json::from_slice(&response.body).unwrap_or(Json::Null),
        false => Json::Null,
    };
    let text = credentials.redact(&problem_text(&document, response), MESSAGE_BYTES_MAX);
    let separator = if text.is_empty() { "" } else { ": " };
    let message = format!("{server} replied with the status {}{separator}{text}", status.as_u16());
    let mut details = json!({ "status": status.as_u16() });
    if let (Some(kind), Some(members)) = (document.get("type").and_then(Json::as_str), details.as_object_mut()) {
        members.insert("type".to_owned(), credentials.redact(kind, TYPE_BYTES_MAX).into());
    }
    let cause = Cause::new(code_from_status(status), message).with_details(details);
    if cause.code != ErrorCode::Overloaded {
        return cause;
    }
    let demanded = retry_after::parse(&response.headers).filter(|after| !after.is_zero());
    cause.with_retry_after(demanded.unwrap_or(RETRY_AFTER_DEFAULT))
}

/// The code of an error status: a server that failed or has no capacity may succeed later, one that rejects the request
/// will reject it again.
fn code_from_status(status: StatusCode) -> ErrorCode {
    match status.as_u16() {
        429 | 503 => ErrorCode::Overloaded,
        408 | 425 | 500..=599 => ErrorCode::ServiceFailed,
        400..=499 => ErrorCode::HandlerFailed,
        // No other status has a result.
        _ => ErrorCode::ServiceFailed,
    }
}

/// What a server writes about its failure: `title` and `detail` of a problem, the usual members of other documents, or the
/// beginning of a text.
fn problem_text(document: &Json, response: &OutboundResponse) -> String {
    let text = |name: &str| document.get(name).and_then(Json::as_str).filter(|text| !text.is_empty());
    let problem: Vec<&str> = ["title", "detail"].into_iter().filter_map(text).collect();
    if !problem.is_empty() {
        return problem.join(": ");
    }
    let nested = || document.get("error")?.get("message")?.as_str();
    if let Some(message) = ["message", "error", "reason"].into_iter().find_map(text).or_else(nested) {
        return message.to_owned();
    }
    let is_text = response.is_json() || matches!(response.media_type().as_str(), "text/plain" | "");
    // A page for people has no text that says what was wrong.
    if is_text { String::from_utf8_lossy(&response.body).into_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};

    use super::super::credentials::{CredentialSettings, Secret};
    use super::*;

    fn response(status: u16, media_type: &'static str, body: &str) -> OutboundResponse {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static(media_type)),
            (RETRY_AFTER, HeaderValue::from_static("7")),
        ]);
        OutboundResponse { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() }
    }

    fn credentials() -> Credentials {
        let headers = vec![("x-key".to_owned(), Secret::new("a-secret"))];
        Credentials::new(&CredentialSettings { headers, query: Vec::new() }).unwrap()
    }

    #[test]
    fn the_status_decides_whether_a_repetition_may_help() {
        for (status, code, retry_after_ms) in [
            (400, ErrorCode::HandlerFailed, None),
            (401, ErrorCode::HandlerFailed, None),
            (404, ErrorCode::HandlerFailed, None),
            (408, ErrorCode::ServiceFailed, None),
            (429, ErrorCode::Overloaded, Some(7_000)),
            (500, ErrorCode::ServiceFailed, None),
            (502, ErrorCode::ServiceFailed, None),
            (503, ErrorCode::Overloaded, Some(7_000)),
            (599, ErrorCode::ServiceFailed, None),
        ] {
            let cause = cause_from_status(&response(status, "text/plain", "no"), "h", &credentials());
            assert_eq!((cause.code, cause.retry_after_ms), (code, retry_after_ms), "{status}");
            assert_eq!(cause.message, format!("h replied with the status {status}: no"));
            assert_eq!(cause.code.is_retryable(), code != ErrorCode::HandlerFailed);
        }
    }

    #[test]
    fn the_text_of_a_problem_is_bounded_and_has_no_secret() {
        let text =
            |media_type, body: &str| cause_from_status(&response(422, media_type, body), "h", &credentials()).message;
        let problem = r#"{"type":"https://h.example/t","title":"No such order","detail":"17 is unknown to a-secret"}"#;
        assert_eq!(
            text("application/problem+json", problem),
            "h replied with the status 422: No such order: 17 is unknown to ***"
        );
        assert!(text("application/json; charset=utf-8", r#"{"error":{"message":"nested"}}"#).ends_with(": nested"));
        assert!(text("application/json", r#"{"message":"flat"}"#).ends_with(": flat"));
        assert!(text("application/json", "garbage {").ends_with(": garbage {"));
        assert_eq!(text("text/html", "<html>no</html>"), "h replied with the status 422");
        assert!(text("text/plain", &"x".repeat(100_000)).len() < 600);
        let cause = cause_from_status(&response(422, "application/problem+json", problem), "h", &credentials());
        assert_eq!(cause.details, json!({ "status": 422, "type": "https://h.example/t" }));
    }

    #[test]
    fn what_was_not_sent_is_no_failure_of_the_server() {
        for (error, code, text) in [
            (OutboundError::Insecure, ErrorCode::AddressNotAllowed, "allow_private"),
            (OutboundError::Refused(AddressClass::Private), ErrorCode::AddressNotAllowed, "allow_private"),
            (OutboundError::Refused(AddressClass::Metadata), ErrorCode::AddressNotAllowed, "nothing is sent"),
            (OutboundError::Unreachable, ErrorCode::ServiceFailed, "cannot be reached"),
            (OutboundError::BrokenOff, ErrorCode::ServiceFailed, "broke off"),
            (OutboundError::TimedOut(Duration::from_secs(1)), ErrorCode::TimedOut, "1000 ms"),
        ] {
            let cause = error.cause("h");
            assert!(cause.code == code && cause.message.contains(text), "{cause}");
        }
    }
}
