//! Reads the bodies of requests: bounded in bytes, in time, and in the memory of all bodies together.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use futures::stream::{self, StreamExt};
use greenroom_client::ContentChunks;
use greenroom_protocol::limits::ENVELOPE_BYTES_MAX;
use greenroom_protocol::{Cause, ErrorCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::problem::Problem;
use super::state::{BODY_UNIT_BYTES, Bridge};

/// Longest time of a JSON body.
const JSON_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest time of one part of the content of an artifact.
const PART_TIME_MAX: Duration = Duration::from_secs(60);

/// A body in memory; its memory is counted until it is dropped.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

/// Reads a JSON body, or none.
///
/// # Errors
/// 413 if it is too large, 408 if it does not arrive in time, 415 if it is of another media type, 429 if too many bodies
/// are in memory, 400 if it ends early.
pub(super) async fn read_json(bridge: &Bridge, headers: &HeaderMap, body: Body) -> Result<Received, Problem> {
    let memory = admit(bridge, headers, &body, ENVELOPE_BYTES_MAX)?;
    let collecting = Limited::new(body, ENVELOPE_BYTES_MAX).collect();
    let bytes = match timeout(JSON_TIME_MAX, collecting).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) => return Err(unreadable(&*error, ENVELOPE_BYTES_MAX).into()),
        Err(_elapsed) => return Err(Problem::new(overdue(JSON_TIME_MAX)).with_status(StatusCode::REQUEST_TIMEOUT)),
    };
    if !bytes.is_empty() && !is_json(headers) {
        let message = "the body is JSON: send it with `Content-Type: application/json`";
        return Err(Problem::invalid_as(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    Ok(Received { bytes, _memory: memory })
}

/// The content of an artifact, in the chunks in which it arrives. An error of it is the cause by which it is not stored.
///
/// # Errors
/// 413 if its length is too large, 429 if too many bodies are being received.
pub(super) fn content(bridge: &Bridge, headers: &HeaderMap, body: Body) -> Result<ContentChunks, Problem> {
    let bytes_max = bridge.upload_bytes_max;
    // A client over NATS has the content in memory until it is stored.
    let memory = admit(bridge, headers, &body, bytes_max)?;
    let parts = Limited::new(body, bytes_max).into_data_stream();
    let chunks = stream::try_unfold((parts, memory), move |(mut parts, memory)| async move {
        match timeout(PART_TIME_MAX, parts.next()).await {
            Ok(Some(Ok(part))) => Ok(Some((part.to_vec(), (parts, memory)))),
            Ok(Some(Err(error))) => Err(unreadable(&*error, bytes_max)),
            Ok(None) => Ok(None),
            Err(_elapsed) => Err(overdue(PART_TIME_MAX)),
        }
    });
    Ok(chunks.boxed())
}

/// Refuses a body by its length, and counts the memory of one that may be large.
fn admit(
    bridge: &Bridge,
    headers: &HeaderMap,
    body: &Body,
    bytes_max: usize,
) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max).into());
    }
    reserve(bridge, expected_bytes(length, body.is_end_stream(), bytes_max))
}

/// The cause of a body that cannot be read to its end.
fn unreadable(error: &(dyn std::error::Error + Send + Sync + 'static), bytes_max: usize) -> Cause {
    if error.is::<LengthLimitError>() {
        return too_large(bytes_max);
    }
    Problem::invalid_cause("the body ended before it was complete, or is not what its headers state")
}

fn overdue(time_max: Duration) -> Cause {
    Cause::new(ErrorCode::TimedOut, format!("the body did not arrive within {} seconds", time_max.as_secs()))
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

fn too_large(bytes_max: usize) -> Cause {
    Cause::new(ErrorCode::PayloadTooLarge, format!("the body has more than {bytes_max} bytes"))
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
