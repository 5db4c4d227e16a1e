//! The problems of a bridge (RFC 9457), and the responses of whatever else is between it and the client.

use greenroom_protocol::{Cause, ErrorCode, Frame, Json, Reply};
use reqwest::StatusCode;
use serde::Deserialize;

use crate::transport::TransportError;

/// A problem.
#[derive(Deserialize)]
struct Problem {
    code: ErrorCode,
    detail: String,
    #[serde(default)]
    details: Json,
    retry_after_ms: Option<u64>,
    /// The whole reply, if a pod has replied.
    reply: Option<Box<Reply>>,
}

/// The frame of a problem.
///
/// # Errors
/// [`TransportError::InvalidResponse`] if it is none.
pub(super) fn frame_of(document: &[u8]) -> Result<Frame, TransportError> {
    let problem: Problem = serde_json::from_slice(document)
        .map_err(|error| TransportError::InvalidResponse { reason: error.to_string() })?;
    let Problem { code, detail, details, retry_after_ms, reply } = problem;
    Ok(match reply {
        Some(reply) => Frame::Reply { reply },
        None => Frame::Refused { cause: Cause { code, message: detail, details, retry_after_ms } },
    })
}

/// The frame of a response that is no success. A proxy has responses of its own, which are no problems of a bridge.
///
/// # Errors
/// [`TransportError::Unreachable`] if a proxy has no bridge; [`TransportError::ConnectionLost`] if it has lost one.
pub(super) fn frame_of_status(status: StatusCode, document: &[u8], address: &str) -> Result<Frame, TransportError> {
    frame_of(document).map_err(|error| match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            let reason = "a proxy has no bridge to send the request to".to_owned();
            TransportError::Unreachable { address: address.to_owned(), reason }
        }
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => TransportError::ConnectionLost,
        _ => match error {
            TransportError::InvalidResponse { reason } => {
                TransportError::InvalidResponse { reason: format!("the response has the status {status}: {reason}") }
            }
            other @ (TransportError::Unreachable { .. }
            | TransportError::ConnectionLost
            | TransportError::Rejected(_)) => other,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_a_refusal_and_one_with_a_reply_is_that_reply() {
        let document =
            br#"{"type":"urn:x","title":"t","status":429,"detail":"full","code":"overloaded","retry_after_ms":7}"#;
        let Frame::Refused { cause } = frame_of(document).unwrap() else { panic!("no refusal") };
        assert_eq!(
            (cause.code, cause.message.as_str(), cause.retry_after_ms),
            (ErrorCode::Overloaded, "full", Some(7))
        );
        let of_later_release = br#"{"detail":"new","code":"of_a_later_release"}"#;
        assert!(
            matches!(frame_of(of_later_release).unwrap(), Frame::Refused { cause } if cause.code == ErrorCode::Unknown)
        );
    }

    #[test]
    fn a_page_of_a_proxy_is_a_lost_connection_or_none() {
        let error = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            frame_of_status(status, b"<html>", "http://h").unwrap_err()
        };
        assert!(matches!(error(503), TransportError::Unreachable { .. }));
        assert!(matches!(error(502), TransportError::ConnectionLost));
        assert!(matches!(error(404), TransportError::InvalidResponse { reason } if reason.contains("404")));
    }
}
