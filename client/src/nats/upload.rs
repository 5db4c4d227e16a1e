//! The upload of an artifact: a pod opens it, and receives its chunks one after the other on a subject of its own.

use std::time::Duration;

use async_nats::Request;
use async_nats::client::{RequestError, RequestErrorKind};
use bytes::Bytes;
use greenroom_protocol::header::CHUNK;
use greenroom_protocol::limits::UPLOAD_CHUNK_BYTES_MAX;
use greenroom_protocol::{ArtifactRef, Cause, Credential, ErrorCode, Reply, RequestHeaders, Subjects};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::inbox::{Inbox, header_map};
use crate::framed::backoff::Backoff;
use crate::transport::TransportError;

/// How long a pod may take to acknowledge a chunk.
const CHUNK_WAIT: Duration = Duration::from_secs(30);
/// Bytes of a message beside its chunk: its subject and its headers.
const HEADERS_BYTES_MAX: usize = 20 * 1_024;

/// The reply to the opening: where the chunks go.
#[derive(Deserialize)]
struct Opened {
    subject: String,
}

/// The reply to a chunk.
#[derive(Deserialize)]
struct Acknowledged {
    chunk: u64,
}

/// What is uploaded.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) name: String,
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
}

/// Uploads content, to another pod if one ends meanwhile, and returns its reference. Content that has been stored already
/// has the same reference. The caller bounds its time.
///
/// # Errors
/// Those of a pod that a repetition does not change.
pub(super) async fn upload(
    inbox: &Inbox,
    subjects: &Subjects,
    credential: Option<Credential>,
    content: Content,
) -> Result<ArtifactRef, TransportError> {
    let headers = RequestHeaders { credential, ..RequestHeaders::default() };
    let mut backoff = Backoff::default();
    loop {
        let requested = match try_upload(inbox, subjects, &headers, content.clone()).await {
            Err(TransportError::Unreachable { .. } | TransportError::ConnectionLost) => None,
            Err(TransportError::Rejected(cause)) if cause.code.is_retryable() => {
                cause.retry_after_ms.map(Duration::from_millis)
            }
            result => return result,
        };
        sleep(backoff.next_delay(requested)).await;
    }
}

async fn try_upload(
    inbox: &Inbox,
    subjects: &Subjects,
    headers: &RequestHeaders,
    content: Content,
) -> Result<ArtifactRef, TransportError> {
    let Content { name, media_type, bytes } = content;
    let (subject, body) = subjects.of_upload(&name, &media_type).map_err(TransportError::Rejected)?;
    let Opened { subject } = request(inbox, headers, None, subject, body.into()).await?;
    let chunk_bytes = inbox.client().max_payload().saturating_sub(HEADERS_BYTES_MAX).clamp(1, UPLOAD_CHUNK_BYTES_MAX);
    let mut rest = bytes;
    let mut number = 0_u64;
    while !rest.is_empty() {
        let chunk = rest.split_to(chunk_bytes.min(rest.len()));
        let Acknowledged { chunk: acknowledged } =
            request(inbox, headers, Some(number), subject.clone(), chunk).await?;
        if acknowledged != number {
            let reason = format!("the chunk {number} was acknowledged as {acknowledged}");
            return Err(TransportError::InvalidResponse { reason });
        }
        number = number.saturating_add(1);
    }
    request(inbox, headers, Some(number), subject, Bytes::new()).await
}

/// Sends a message that has one reply.
async fn request<T: DeserializeOwned>(
    inbox: &Inbox,
    headers: &RequestHeaders,
    chunk: Option<u64>,
    subject: String,
    body: Bytes,
) -> Result<T, TransportError> {
    let mut map = header_map(headers)?;
    if let Some(chunk) = chunk {
        map.insert(CHUNK, chunk.to_string());
    }
    let message = Request::new().headers(map).payload(body).timeout(Some(CHUNK_WAIT));
    let response = inbox.client().send_request(subject, message).await;
    let response = response.map_err(|error| request_error(inbox, &error))?;
    serde_json::from_slice(&response.payload).map_err(|error| refusal(&response.payload, &error))
}

/// The cause of a pod that does not accept an upload: its reply has another shape.
fn refusal(payload: &[u8], error: &serde_json::Error) -> TransportError {
    match serde_json::from_slice::<Reply>(payload) {
        Ok(Reply { error: Some(cause), .. }) => TransportError::Rejected(cause),
        Ok(_) | Err(_) => TransportError::InvalidResponse { reason: error.to_string() },
    }
}

fn request_error(inbox: &Inbox, error: &RequestError) -> TransportError {
    match error.kind() {
        RequestErrorKind::NoResponders => inbox.unreachable("no pod receives the upload".to_owned()),
        RequestErrorKind::TimedOut | RequestErrorKind::Other => TransportError::ConnectionLost,
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
            TransportError::Rejected(Cause::new(ErrorCode::InvalidRequest, error.to_string()))
        }
    }
}
