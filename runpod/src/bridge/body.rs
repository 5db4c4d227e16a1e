//! Reads the bodies of requests: bounded in bytes, in time, and in the memory of all bodies together.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use greenroom_protocol::limits::ENVELOPE_BYTES_MAX;
use greenroom_protocol::{Cause, ErrorCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::problem::Problem;
use super::state::{BODY_UNIT_BYTES, Bridge};

/// Longest time of a JSON body.
const JSON_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest time of the content of an artifact.
const CONTENT_TIME_MAX: Duration = Duration::from_secs(600);

/// A body in memory; its memory is counted until it is dropped.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

/// The largest body, and its longest time.
struct Bounds {
    bytes_max: usize,
    time_max: Duration,
}

/// Reads a JSON body, or none.
///
/// # Errors
/// 413 if it is too large, 408 if it does not arrive in time, 415 if it is of another media type, 429 if too many bodies
/// are in memory, 400 if it ends early.
pub(super) async fn read_json(bridge: &Bridge, headers: &HeaderMap, body: Body) -> Result<Received, Problem> {
    let received = read(bridge, headers, body, Bounds { bytes_max: ENVELOPE_BYTES_MAX, time_max: JSON_TIME_MAX });
    let received = received.await?;
    if !received.bytes.is_empty() && !is_json(headers) {
        let message = "the body is JSON: send it with `Content-Type: application/json`";
        return Err(Problem::invalid_as(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    Ok(received)
}

/// Reads the content of an artifact.
///
/// # Errors
/// As [`read_json`], of any media type.
pub(super) async fn read_content(bridge: &Bridge, headers: &HeaderMap, body: Body) -> Result<Received, Problem> {
    let bounds = Bounds { bytes_max: bridge.upload_bytes_max, time_max: CONTENT_TIME_MAX };
    read(bridge, headers, body, bounds).await
}

async fn read(bridge: &Bridge, headers: &HeaderMap, body: Body, bounds: Bounds) -> Result<Received, Problem> {
    let Bounds { bytes_max, time_max } = bounds;
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let memory = reserve(bridge, expected_bytes(length, body.is_end_stream(), bytes_max))?;
    let collecting = Limited::new(body, bytes_max).collect();
    match timeout(time_max, collecting).await {
        Ok(Ok(collected)) => Ok(Received { bytes: collected.to_bytes(), _memory: memory }),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(bytes_max)),
        Ok(Err(_)) => Err(Problem::invalid("the body ended before it was complete, or is not what its headers state")),
        Err(_elapsed) => {
            let message = format!("the body did not arrive within {} seconds", time_max.as_secs());
            Err(Problem::new(Cause::new(ErrorCode::TimedOut, message)).with_status(StatusCode::REQUEST_TIMEOUT))
        }
    }
}

/// How many bytes a body may need. One without a length, over HTTP/1.1 in chunks, may need the most.
fn expected_bytes(length: Option<usize>, is_empty: bool, bytes_max: usize) -> usize {
    match length {
        Some(length) => length,
        None if is_empty => 0,
        None => bytes_max,
    }
}

/// Counts the memory of a large body.
fn reserve(bridge: &Bridge, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    if bytes <= BODY_UNIT_BYTES {
        return Ok(None);
    }
    let units = u32::try_from(bytes.div_ceil(BODY_UNIT_BYTES)).unwrap_or(u32::MAX);
    match bridge.body_memory.clone().try_acquire_many_owned(units) {
        Ok(memory) => Ok(Some(memory)),
        Err(_) => {
            let message = "too many large bodies are being received at this moment";
            let cause = Cause::new(ErrorCode::Overloaded, message).with_retry_after(Duration::from_secs(1));
            Err(Problem::new(cause))
        }
    }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(Cause::new(ErrorCode::PayloadTooLarge, format!("the body has more than {bytes_max} bytes")))
}

/// True if the header names JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn json_is_recognised_by_its_media_type() {
        let is_json_as = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(text));
            is_json(&headers)
        };
        for text in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
            assert!(is_json_as(text), "{text}");
        }
        for text in ["text/plain", "application/x-www-form-urlencoded", "text/json", "application/jsonx", ""] {
            assert!(!is_json_as(text), "{text}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn a_body_without_a_length_may_need_the_most() {
        assert_eq!(expected_bytes(None, true, 9), 0);
        assert_eq!((expected_bytes(None, false, 9), expected_bytes(Some(3), false, 9)), (9, 3));
    }
}
