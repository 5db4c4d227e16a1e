//! How a call can fail, and what that means for a retry, for the budget and for the user.

use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::agent_memory::embedder::EmbedderId;
use greenroom_registry::outage::PAUSE;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::api::reported_message;
use crate::models::http::Redactor;

/// Characters of a message of the server that an error repeats.
const MESSAGE_CHARS_MAX: usize = 300;

/// A failed attempt.
#[derive(Debug, PartialEq)]
pub(super) enum Failure {
    /// The connection could not be made: nothing was sent.
    Unreachable,
    /// The connection broke off, or the server did not reply in time: what it has done is not known.
    Broken,
    /// The server counts as away: nothing was sent.
    Paused,
    /// The server has no capacity, and has done nothing.
    Overloaded {
        /// When it may be called again.
        retry_after: Option<Duration>,
    },
    /// The server rejects the key.
    Unauthorized,
    /// The server rejects the request, and has done nothing.
    Rejected {
        /// Its status.
        status: u16,
        /// Its message.
        message: String,
    },
    /// The server failed.
    Failed {
        /// Its status.
        status: u16,
    },
    /// The reply cannot be read.
    Unreadable(String),
}

impl Failure {
    /// An error of the HTTP client, whose own texts may have the address.
    pub(super) fn from_transport(error: &reqwest::Error) -> Self {
        if error.is_connect() { Self::Unreachable } else { Self::Broken }
    }

    /// A response with an error status.
    pub(super) fn from_response(status: StatusCode, body: &str, headers: &HeaderMap, redactor: &Redactor) -> Self {
        match status.as_u16() {
            429 | 503 | 529 => {
                let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
                Self::Overloaded { retry_after: seconds.map(Duration::from_secs) }
            }
            401 | 403 => Self::Unauthorized,
            status @ 400..=499 => {
                Self::Rejected { status, message: redactor.redact(&reported_message(body), MESSAGE_CHARS_MAX) }
            }
            status => Self::Failed { status },
        }
    }

    /// True if the same request may succeed in a moment.
    pub(super) const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable | Self::Broken | Self::Overloaded { .. } | Self::Failed { .. } => true,
            Self::Paused | Self::Unauthorized | Self::Rejected { .. } | Self::Unreadable(_) => false,
        }
    }

    /// True if the server has not replied.
    pub(super) const fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable | Self::Broken => true,
            Self::Paused
            | Self::Overloaded { .. }
            | Self::Unauthorized
            | Self::Rejected { .. }
            | Self::Failed { .. }
            | Self::Unreadable(_) => false,
        }
    }

    /// True if the server has certainly done no work, which is not charged for.
    pub(super) const fn did_nothing(&self) -> bool {
        match self {
            Self::Unreachable | Self::Paused | Self::Overloaded { .. } | Self::Unauthorized | Self::Rejected { .. } => {
                true
            }
            Self::Broken | Self::Failed { .. } | Self::Unreadable(_) => false,
        }
    }

    /// When the server may be called again, if it says so.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after } => *retry_after,
            Self::Unreachable
            | Self::Broken
            | Self::Paused
            | Self::Unauthorized
            | Self::Rejected { .. }
            | Self::Failed { .. }
            | Self::Unreadable(_) => None,
        }
    }

    /// The cause that a user sees.
    pub(super) fn cause(self, embedder: &EmbedderId) -> Cause {
        let is_uncharged = self.did_nothing();
        let (code, problem) = match self {
            Self::Unreachable => {
                (ErrorCode::ModelOverloaded, "cannot be reached; check memory.base_url and the network".to_owned())
            }
            Self::Broken => (ErrorCode::ModelFailed, "did not reply in time, or the connection broke off".to_owned()),
            Self::Paused => {
                let cause = Cause::new(
                    ErrorCode::ModelOverloaded,
                    format!("the embedder {embedder} did not reply to the last calls, and is called again in a moment"),
                );
                return cause.with_details(serde_json::json!({ "uncharged": true })).with_retry_after(PAUSE);
            }
            Self::Overloaded { retry_after } => {
                let cause = Cause::new(ErrorCode::ModelOverloaded, format!("the embedder {embedder} has no capacity"));
                let cause = cause.with_details(serde_json::json!({ "uncharged": true }));
                return match retry_after {
                    Some(after) => cause.with_retry_after(after),
                    None => cause,
                };
            }
            Self::Unauthorized => (ErrorCode::ModelUnauthorized, "rejects the key; check memory.api_key".to_owned()),
            Self::Rejected { status: 404, message } => {
                (ErrorCode::UnknownModel, format!("does not exist at memory.base_url: {message}"))
            }
            Self::Rejected { status, message } => {
                (ErrorCode::ModelRefused, format!("rejects the request ({status}): {message}"))
            }
            Self::Failed { status } => (ErrorCode::ModelFailed, format!("failed with the status {status}")),
            Self::Unreadable(problem) => {
                (ErrorCode::ModelFailed, format!("has sent a reply that cannot be used: {problem}"))
            }
        };
        let cause = Cause::new(code, format!("the embedder {embedder} {problem}"));
        cause.with_details(serde_json::json!({ "uncharged": is_uncharged }))
    }
}
