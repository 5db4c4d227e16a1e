//! Artifacts: the upload of one, and the download of all or a part of one, which arrives from the pods in parts.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    LOCATION, RANGE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::stream::{self, StreamExt};
use greenroom_client::Client;
use greenroom_protocol::{Cause, ContentHash, ErrorCode, Json};
use tokio::time::timeout;

use super::body;
use super::incoming::{Head, Incoming};
use super::problem::Problem;
use super::range::ByteRange;
use super::respond;

/// The names of the query of an upload.
pub(super) const UPLOAD_QUERY: [&str; 1] = ["name"];
/// Longest time of an upload.
const UPLOAD_TIME_MAX: Duration = Duration::from_secs(600);
/// The media type of content whose owner names none.
const OCTETS: &str = "application/octet-stream";

/// Stores the body as an artifact.
pub(super) async fn upload(incoming: Incoming) -> Result<Response, Problem> {
    let Incoming { head, body } = incoming;
    let headers = head.request_headers()?;
    let mut query = head.query(&UPLOAD_QUERY)?;
    let name = query.remove("name").ok_or_else(|| Problem::invalid("the query has no `name`, the name of the file"))?;
    let media_type = head.text("Content-Type").unwrap_or(OCTETS).to_owned();
    let chunks = body::content(&head.bridge, &head.headers, body)?;
    let client = head.bridge.client(headers.credential);
    let artifact = match timeout(UPLOAD_TIME_MAX, client.upload_stream(name, media_type, chunks)).await {
        Ok(stored) => stored?,
        Err(_elapsed) => {
            let message = format!("the content was not stored within {} seconds", UPLOAD_TIME_MAX.as_secs());
            return Err(Cause::new(ErrorCode::TimedOut, message).into());
        }
    };
    let location = HeaderValue::try_from(format!("/v1/artifacts/{}", artifact.hash));
    let mut response = respond::json(StatusCode::CREATED, &artifact)?;
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Streams an artifact, or a range of it.
pub(super) async fn download(incoming: Incoming) -> Result<Response, Problem> {
    let Incoming { head, .. } = incoming;
    let hash = head.id::<ContentHash>(0)?;
    head.query(&[])?;
    let tag = format!("\"{hash}\"");
    let range = requested_range(&head, &tag);
    let client = head.bridge.client(head.request_headers()?.credential);
    let part = read_part(&client, hash, range.first()).await?;
    // Only a caller who may read the artifact gets this far.
    if head.text(IF_NONE_MATCH.as_str()).is_some_and(|tags| tags.split(',').any(|one| one.trim() == tag)) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let size = part.size;
    let Some((first, end)) = range.resolve(size) else {
        let message = format!("the content has {size} bytes, and none of them is in the range");
        let mut response = Problem::invalid_as(StatusCode::RANGE_NOT_SATISFIABLE, message).into_response();
        set(&mut response, CONTENT_RANGE, format!("bytes */{size}"));
        return Ok(response);
    };
    // The last bytes begin in another part than the first one, whose size was not known before.
    let part = if first == range.first() { part } else { read_part(&client, hash, first).await? };
    let mut response = Response::new(content(client, hash, part, first, end));
    set(&mut response, CONTENT_LENGTH, end.saturating_sub(first).to_string());
    if range != ByteRange::Whole {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(&mut response, CONTENT_RANGE, format!("bytes {first}-{}/{size}", end.saturating_sub(1)));
    }
    set(&mut response, CONTENT_TYPE, OCTETS.to_owned());
    // The content is that of a user: a browser stores it and does not show it.
    set(&mut response, CONTENT_DISPOSITION, format!("attachment; filename=\"{hash}\""));
    set(&mut response, ACCEPT_RANGES, "bytes".to_owned());
    set(&mut response, ETAG, tag);
    Ok(response)
}

/// The range of a request. One for another content than that of the tag is ignored.
fn requested_range(head: &Head, tag: &str) -> ByteRange {
    match head.text(IF_RANGE.as_str()) {
        Some(other) if other.trim() != tag => ByteRange::Whole,
        Some(_) | None => ByteRange::read(head.text(RANGE.as_str())),
    }
}

fn set(response: &mut Response, name: axum::http::HeaderName, value: String) {
    // The values of this file have no character that a header cannot have.
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A part of an artifact, and the size of the whole.
struct Part {
    bytes: Bytes,
    size: u64,
}

/// Reads the part after this many bytes.
async fn read_part(client: &Client, hash: ContentHash, after: u64) -> Result<Part, Problem> {
    let mut reply = client.artifact(hash, after).await?;
    if let Some(cause) = respond::failure(&mut reply) {
        return Err(Problem::of_reply(cause, reply));
    }
    let content = reply.outputs.get("content").and_then(Json::as_str);
    let bytes = content.and_then(|content| STANDARD.decode(content).ok());
    match (bytes, reply.outputs.get("bytes").and_then(Json::as_u64)) {
        (Some(bytes), Some(size)) => Ok(Part { bytes: bytes.into(), size }),
        (None, _) | (_, None) => {
            Err(Cause::new(ErrorCode::Internal, "the pod has replied with an artifact that cannot be read").into())
        }
    }
}

/// What remains to be written of a content.
struct Rest {
    client: Client,
    hash: ContentHash,
    part: Bytes,
    /// The position of the part in the content.
    position: u64,
    end: u64,
}

impl Rest {
    /// The next bytes; `None` after the last ones.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let remaining = self.end.saturating_sub(self.position);
        if remaining == 0 {
            return Ok(None);
        }
        if self.part.is_empty() {
            let part = read_part(&self.client, self.hash, self.position).await;
            self.part = part.map_err(|problem| io::Error::other(problem.document().to_string()))?.bytes;
        }
        let length = usize::try_from(remaining).unwrap_or(usize::MAX).min(self.part.len());
        if length == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.position = self.position.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        Ok(Some(std::mem::take(&mut self.part).split_to(length)))
    }
}

/// The content from `first` to before `end`, whose first part is read already. A part that cannot be read ends the
/// connection, so that the reader does not take the beginning for the whole.
fn content(client: Client, hash: ContentHash, part: Part, first: u64, end: u64) -> Body {
    let rest = Rest { client, hash, part: part.bytes, position: first, end };
    let chunks = stream::try_unfold(rest, |mut rest| async move {
        let bytes = rest.next().await?;
        Ok::<_, io::Error>(bytes.map(|bytes| (bytes, rest)))
    });
    Body::from_stream(chunks.boxed())
}
