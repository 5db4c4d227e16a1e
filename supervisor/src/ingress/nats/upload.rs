//! Serves the upload of an artifact: a message opens it, and the chunks follow to a subject of this pod, each as a request
//! that is acknowledged once the store has taken the chunk before it. An empty chunk ends it. The subject of the chunks is
//! known to the caller only, so a chunk needs no credential of its own.

use std::time::Duration;

use async_nats::Message;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use greenroom_protocol::limits::UPLOAD_CHUNK_BYTES_MAX;
use greenroom_protocol::request::Query;
use greenroom_protocol::{
    ArtifactRef, Cause, Envelope, ErrorCode, IngressKind, Received, Request, RequestHeaders, header,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::NatsIngress;
use super::connection::NatsSubscription;
use super::message;
use super::reply::{ReplySubject, to_body};
use super::request::refuse;
use super::starting::Starting;

/// Longest wait for the next chunk.
const CHUNK_WAIT_MAX: Duration = Duration::from_secs(30);
/// Longest time of one upload.
const UPLOAD_TIME_MAX: Duration = Duration::from_secs(30 * 60);

/// The artifact that is uploaded.
pub(super) struct Upload {
    pub(super) name: String,
    pub(super) media_type: String,
}

/// Serves an upload, and returns the code of its error. `starting` is dropped once it is accepted.
pub(super) async fn serve(
    ingress: &NatsIngress,
    upload: Upload,
    headers: RequestHeaders,
    reply_to: &ReplySubject,
    starting: Starting,
) -> Option<ErrorCode> {
    // A drain waits for an upload that has begun.
    let awaited = match ingress.pipeline().admission.await_response() {
        Ok(awaited) => awaited,
        Err(cause) => return refuse(ingress, reply_to, cause, false).await,
    };
    drop(starting);
    let code = match Box::pin(receive(ingress, &upload, headers, reply_to)).await {
        Ok((last, Ok(artifact))) => {
            last.send(&ingress.connection, None, to_body(&artifact)).await;
            None
        }
        Ok((last, Err(cause))) => refuse(ingress, &last, cause, false).await,
        Err(cause) => refuse(ingress, reply_to, cause, false).await,
    };
    drop(awaited);
    code
}

/// The inbox that the result goes to, and the result.
type Outcome = (ReplySubject, Result<ArtifactRef, Cause>);

/// Authenticates the caller, receives the chunks and stores them.
///
/// # Errors
/// The cause by which the upload is not opened.
async fn receive(
    ingress: &NatsIngress,
    upload: &Upload,
    headers: RequestHeaders,
    reply_to: &ReplySubject,
) -> Result<Outcome, Cause> {
    let envelope = Envelope { version: headers.version, ..Envelope::new(Request::Query(Query::Agents)) };
    let now = ingress.clock().now();
    let received = Received::from_message(envelope, headers, IngressKind::Nats, ingress.ids(), now)?;
    let request = ingress.pipeline().authenticator.authenticate(received).await?;
    let subject = ingress.connection.subjects().upload(&ingress.pipeline().pod_name, ingress.ids().next_id());
    let mut subscription = ingress.connection.subscribe(subject.clone(), None).await?;
    // The server knows the subscription before the caller knows its subject: both are sent in this order.
    if !reply_to.send(&ingress.connection, None, to_body(&json!({ "subject": subject }))).await {
        return Err(Cause::new(ErrorCode::Interrupted, "the connection to NATS is lost"));
    }
    let (chunks, mut source) = mpsc::channel(1);
    let content = stream::poll_fn(move |context| source.poll_recv(context)).boxed();
    let storing = async {
        let storing = ingress.local.store_content(&request, content, &upload.media_type, &upload.name);
        tokio::time::timeout(UPLOAD_TIME_MAX, storing).await.unwrap_or_else(|_elapsed| Err(overdue()))
    };
    let receiving = receive_chunks(ingress, &mut subscription, chunks);
    let (stored, last) = tokio::join!(storing, receiving);
    match last {
        Some(last) => Ok((last, stored)),
        // Whoever sent the chunks sends none any more, and waits for nothing.
        None => {
            tracing::info!(artifact.name = upload.name, "an upload over NATS has not ended in time");
            Ok((reply_to.clone(), stored.and(Err(interrupted()))))
        }
    }
}

/// Receives chunks until the empty one, or until the store or the caller fails. Returns the inbox of the last message;
/// `None` if none has arrived in time, and then the source of the content ends with an error.
async fn receive_chunks(
    ingress: &NatsIngress,
    subscription: &mut NatsSubscription,
    chunks: mpsc::Sender<Result<Bytes, Cause>>,
) -> Option<ReplySubject> {
    let until = Instant::now() + UPLOAD_TIME_MAX;
    let mut expected = 0;
    loop {
        let next_until = until.min(Instant::now() + CHUNK_WAIT_MAX);
        let Ok(Some(message)) = tokio::time::timeout_at(next_until, subscription.next()).await else {
            // The store may have failed already.
            let _ = chunks.send(Err(interrupted())).await;
            return None;
        };
        let Some(reply_to) = ReplySubject::of(&message) else { continue };
        let number = match check(&message, expected) {
            Ok(Some(number)) => number,
            Ok(None) => {
                acknowledge(ingress, &reply_to, expected.saturating_sub(1)).await;
                continue;
            }
            Err(cause) => {
                let _ = chunks.send(Err(cause)).await;
                return Some(reply_to);
            }
        };
        if message.payload.is_empty() || chunks.send(Ok(message.payload)).await.is_err() {
            return Some(reply_to);
        }
        acknowledge(ingress, &reply_to, number).await;
        expected = number + 1;
    }
}

/// The number of a chunk that is expected; `None` for a repetition of the one before, whose acknowledgement was lost.
fn check(message: &Message, expected: u64) -> Result<Option<u64>, Cause> {
    let number = header::read_chunk(|name| message::value(message, name))?;
    if message.payload.len() > UPLOAD_CHUNK_BYTES_MAX {
        let bytes = message.payload.len();
        let text = format!("the chunk {number} has {bytes} bytes, at most {UPLOAD_CHUNK_BYTES_MAX} are allowed");
        return Err(Cause::new(ErrorCode::PayloadTooLarge, text));
    }
    if number == expected {
        return Ok(Some(number));
    }
    if number.checked_add(1) == Some(expected) && !message.payload.is_empty() {
        return Ok(None);
    }
    Err(Cause::new(ErrorCode::InvalidRequest, format!("the chunk {number} is not the next one, which is {expected}")))
}

async fn acknowledge(ingress: &NatsIngress, reply_to: &ReplySubject, number: u64) {
    reply_to.send(&ingress.connection, None, to_body(&json!({ "chunk": number }))).await;
}

fn overdue() -> Cause {
    let minutes = UPLOAD_TIME_MAX.as_secs() / 60;
    Cause::new(ErrorCode::TimedOut, format!("the artifact was not uploaded within {minutes} minutes"))
}

fn interrupted() -> Cause {
    Cause::new(ErrorCode::Interrupted, "the artifact did not arrive: its next chunk did not follow in time")
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;

    use super::*;

    fn chunk(number: &str, bytes: usize) -> Message {
        let mut headers = HeaderMap::new();
        headers.insert(header::CHUNK, number);
        Message {
            subject: "s".into(),
            reply: None,
            payload: vec![0; bytes].into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: bytes,
        }
    }

    #[test]
    fn chunks_are_taken_in_order_and_a_repetition_is_acknowledged_again() {
        assert_eq!(check(&chunk("0", 1), 0), Ok(Some(0)));
        assert_eq!(check(&chunk("4", 1), 5), Ok(None));
        assert_eq!(check(&chunk("5", 0), 5), Ok(Some(5)));
        for (number, bytes, code) in [
            ("6", 1, ErrorCode::InvalidRequest),
            ("3", 1, ErrorCode::InvalidRequest),
            ("4", 0, ErrorCode::InvalidRequest),
            ("18446744073709551615", 1, ErrorCode::InvalidRequest),
            ("x", 1, ErrorCode::InvalidRequest),
            ("5", UPLOAD_CHUNK_BYTES_MAX + 1, ErrorCode::PayloadTooLarge),
        ] {
            assert_eq!(check(&chunk(number, bytes), 5).unwrap_err().code, code, "{number}");
        }
    }
}
