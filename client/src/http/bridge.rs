//! The bridge as a link: a message becomes a request of HTTP, and its response, or the events of its response, frames.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use greenroom_protocol::header::FRAMES;
use greenroom_protocol::subject::RunVerb;
use greenroom_protocol::subject::body::WatchBody;
use greenroom_protocol::{
    ArtifactRef, Cause, ErrorCode, Frame, IngressSubject, Metadata, Reply, RequestHeaders, Status, Subjects, Values,
    WrittenVersion,
};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use super::events::EventReader;
use super::problem::frame_of_status;
use super::route::Route;
use crate::framed::link::{FrameStream, Link, Message};
use crate::framed::random::now;
use crate::transport::TransportError;

/// Longest time of one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A bridge writes at least a comment every fifteen seconds; without one for this long, it is lost.
const READ_TIMEOUT: Duration = Duration::from_secs(40);
/// Timeout of an idle connection: a bridge closes one after thirty seconds.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// A bridge.
pub(super) struct Bridge {
    http: reqwest::Client,
    base: Url,
    subjects: Subjects,
}

impl Bridge {
    /// The bridge at this address.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if the client of HTTP cannot be built.
    pub(super) fn new(base: Url, subjects: Subjects, connect_timeout: Option<Duration>) -> Result<Self, Cause> {
        // The process may have installed a crypto provider already, which is used then.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let http = reqwest::Client::builder()
            .connect_timeout(connect_timeout.unwrap_or(CONNECT_TIMEOUT))
            .read_timeout(READ_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            // A redirect would carry the credential to another host.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("greenroom-client/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                Cause::new(ErrorCode::InvalidConfiguration, format!("the HTTP client cannot be built: {error}"))
            })?;
        Ok(Self { http, base, subjects })
    }

    /// Stores content as an artifact, in one attempt.
    ///
    /// # Errors
    /// [`TransportError::Rejected`] with the cause of a refusal; the others if no response arrived.
    pub(super) async fn upload(
        &self,
        headers: &RequestHeaders,
        name: &str,
        media_type: &str,
        content: Bytes,
    ) -> Result<ArtifactRef, TransportError> {
        let route = Route::of(&IngressSubject::ArtifactUpload);
        let mut url = route.url(&self.base);
        url.query_pairs_mut().append_pair("name", name);
        let request = self.http.request(route.method, url).header(CONTENT_TYPE, media_type).body(content);
        let response = self.send(with_headers(request, headers)?).await?;
        let status = response.status();
        let document = read(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&document).map_err(|error| invalid(&error));
        }
        match frame_of_status(status, &document, self.base.as_str())? {
            Frame::Refused { cause } => Err(TransportError::Rejected(cause)),
            _ => Err(TransportError::InvalidResponse { reason: format!("the response has the status {status}") }),
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, TransportError> {
        request.send().await.map_err(|error| {
            if error.is_connect() {
                let reason = source_of(&error);
                return TransportError::Unreachable { address: self.base.to_string(), reason };
            }
            if error.is_builder() {
                let message = format!("the request cannot be sent over HTTP: {}", source_of(&error));
                return TransportError::Rejected(Cause::new(ErrorCode::InvalidRequest, message));
            }
            TransportError::ConnectionLost
        })
    }
}

#[async_trait]
impl Link for Bridge {
    async fn open(&self, message: Message) -> Result<FrameStream, TransportError> {
        let Message { subject, headers, body } = message;
        let subject = self.subjects.parse(&subject).map_err(TransportError::Rejected)?;
        let route = Route::of(&subject);
        let mut request = self.http.request(route.method.clone(), route.url(&self.base));
        request = with_headers(request.header(ACCEPT, "text/event-stream, application/json"), &headers)?;
        if matches!(subject, IngressSubject::Run { verb: RunVerb::Events, .. }) {
            let WatchBody { after } = serde_json::from_slice(&body).map_err(|error| invalid(&error))?;
            request = request.header("Last-Event-ID", after.to_string());
        } else if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = self.send(request).await?;
        let status = response.status();
        if status == StatusCode::NO_CONTENT {
            return Ok(one(end_of_watch()));
        }
        let is_stream = response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
        if status.is_success() && is_stream {
            return Ok(frames(response));
        }
        let document = read(response).await?;
        if status.is_success() {
            let reply = serde_json::from_slice(&document).map_err(|error| invalid(&error))?;
            return Ok(one(Frame::Reply { reply: Box::new(reply) }));
        }
        Ok(one(frame_of_status(status, &document, self.base.as_str())?))
    }
}

fn with_headers(mut request: RequestBuilder, headers: &RequestHeaders) -> Result<RequestBuilder, TransportError> {
    for (name, value) in headers.to_pairs().map_err(TransportError::Rejected)? {
        if name != FRAMES {
            request = request.header(name, value);
        }
    }
    Ok(request)
}

async fn read(response: Response) -> Result<Bytes, TransportError> {
    response.bytes().await.map_err(|_| TransportError::ConnectionLost)
}

/// What remains of a stream of events.
struct Rest {
    bytes: BoxStream<'static, reqwest::Result<Bytes>>,
    reader: EventReader,
    frames: VecDeque<Frame>,
    is_done: bool,
}

impl Rest {
    async fn next(&mut self) -> Option<Result<Frame, TransportError>> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(Ok(frame));
            }
            if self.is_done {
                return None;
            }
            let read = match self.bytes.next().await {
                Some(Ok(bytes)) => self.reader.read(&bytes),
                Some(Err(_)) => Err(TransportError::ConnectionLost),
                None => {
                    self.is_done = true;
                    continue;
                }
            };
            match read {
                Ok(frames) => self.frames.extend(frames),
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The frames of a stream of events. The headers of the response show that the bridge works.
fn frames(response: Response) -> FrameStream {
    let frames = VecDeque::from([Frame::Working { at: now() }]);
    let bytes = response.bytes_stream().boxed();
    let rest = Rest { bytes, reader: EventReader::default(), frames, is_done: false };
    let frames = stream::unfold(rest, |mut rest| async move {
        let frame = rest.next().await?;
        Some((frame, rest))
    });
    frames.boxed()
}

fn one(frame: Frame) -> FrameStream {
    stream::iter([Ok(frame)]).boxed()
}

/// The end of a watch whose reader has every event.
fn end_of_watch() -> Frame {
    let (outputs, metadata) = (Values::new(), Metadata::default());
    let (status, protocol_version) = (Status::Success, WrittenVersion::OWN);
    let reply = Reply { id: String::new(), status, outputs, error: None, metadata, protocol_version };
    Frame::Reply { reply: Box::new(reply) }
}

/// The innermost reason of an error, which names neither a URL nor a header.
fn source_of(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(next) = source.source() {
        source = next;
    }
    source.to_string()
}

fn invalid(error: &serde_json::Error) -> TransportError {
    TransportError::InvalidResponse { reason: error.to_string() }
}
