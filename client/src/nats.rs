//! The transport over NATS: `Client::connect` with `nats://HOST:4222`, or several servers with commas between them.
//! Requests go to the queue group of all pods, with frames as their replies; one subscription receives all of them.
//!
//! A request is sent again with the same name and the same idempotency key when no pod accepts it within three seconds,
//! when its pod falls silent, and when the code of its reply says that a repetition may succeed; all of that until its
//! deadline, which is [`REQUEST_TIMEOUT`] without one. A request with an effect gets a generated key if its caller gave none.
//! A request that is larger than a message may be uploads its largest inputs as artifacts first.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use greenroom_protocol::event::{EventNumber, WatchedRun};
use greenroom_protocol::limits::REQUEST_TIMEOUT;
use greenroom_protocol::{ArtifactRef, Cause, Credential, Envelope, ErrorCode, Reply, RequestHeaders, Subjects};
use tokio::time::timeout;

mod claim_check;
mod inbox;
mod options;
mod upload;

pub use options::ConnectOptions;

use self::claim_check::{LargeInput, largest_input};
use self::inbox::Inbox;
use self::upload::{Content, upload};
use crate::client::Client;
use crate::error::Error;
use crate::framed::exchange::Exchange;
use crate::framed::link::{Link, Message};
use crate::framed::outgoing::{request_headers, time_to_wait};
use crate::framed::watch::RunWatch;
use crate::transport::{Events, Observations, ProgressStream, Transport, TransportError, Upload, Watch, events_of};

/// Bytes of a message that the client of NATS adds to the names and values of its headers.
const HEADERS_OVERHEAD_BYTES: usize = 64;
/// Bytes of a header beside its name and value.
const HEADER_OVERHEAD_BYTES: usize = 4;

impl Client {
    /// Connects to pods over NATS, as [`Client::connect`] with options.
    ///
    /// # Errors
    /// [`Error::Transport`] if no server can be reached; [`Error::Refused`] if the prefix is invalid, a file cannot be read, or
    /// a server and this client do not trust each other.
    pub async fn connect_with(servers: &str, options: ConnectOptions) -> Result<Self, Error> {
        let (subjects, credential) = (options.subjects()?, options.pod_credential().cloned());
        let inbox = Arc::new(Box::pin(options.connect(servers)).await?);
        Ok(Self::new(Arc::new(NatsTransport { inbox, subjects, credential })))
    }
}

/// Sends requests over NATS.
struct NatsTransport {
    inbox: Arc<Inbox>,
    subjects: Subjects,
    /// The credential of requests without one.
    credential: Option<Credential>,
}

impl NatsTransport {
    /// Prepares a request: its inputs are uploaded if it is too large for a message.
    async fn prepare(&self, envelope: Envelope) -> Result<Exchange, TransportError> {
        let waits_for = time_to_wait(&envelope);
        let headers = request_headers(&envelope, self.credential.as_ref())?;
        let Envelope { mut request, .. } = envelope;
        let body = self.body(&mut request, &headers);
        let (subject, body) = timeout(waits_for, body).await.map_err(|_elapsed| upload_timed_out())??;
        let is_repeatable = request.is_read() || headers.idempotency_key.is_some();
        let message = Message { subject, headers, body: body.into() };
        let link: Arc<dyn Link> = self.inbox.clone();
        Ok(Exchange::new(link, message, is_repeatable, waits_for))
    }

    /// The subject and the body of a request that fits into a message.
    async fn body(
        &self,
        request: &mut greenroom_protocol::Request,
        headers: &RequestHeaders,
    ) -> Result<(String, Vec<u8>), TransportError> {
        let pairs = headers.to_pairs().map_err(TransportError::Rejected)?;
        let header_bytes = pairs.iter().map(|(name, value)| name.len() + value.len() + HEADER_OVERHEAD_BYTES);
        let header_bytes = header_bytes.sum::<usize>().saturating_add(HEADERS_OVERHEAD_BYTES);
        loop {
            let (subject, body) = self.subjects.of_request(request).map_err(TransportError::Rejected)?;
            let bytes_max = self.inbox.client().max_payload().saturating_sub(header_bytes);
            if body.len() <= bytes_max {
                return Ok((subject, body));
            }
            let Some(LargeInput { name, content, media_type, file_name }) = largest_input(request) else {
                return Err(TransportError::Rejected(too_large(body.len(), bytes_max)));
            };
            drop(body);
            let content = Content { name: file_name, media_type: media_type.to_owned(), bytes: content.into() };
            let artifact = upload(&self.inbox, &self.subjects, headers.credential.clone(), content).await?;
            request.set_input(&name, artifact.to_json());
        }
    }
}

#[async_trait]
impl Transport for NatsTransport {
    async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError> {
        let exchange = self.prepare(envelope).boxed().await?;
        exchange.reply().await
    }

    fn watch(&self, run: &WatchedRun, after: EventNumber) -> Events {
        events_of(self.observe(&Watch { run: run.clone(), after, credential: None }))
    }

    fn stream(self: Arc<Self>, envelope: Envelope) -> ProgressStream {
        let opening = async move { self.prepare(envelope).await.map(Exchange::into_stream) };
        stream::once(opening).try_flatten().boxed()
    }

    async fn upload(&self, content: Upload) -> Result<ArtifactRef, TransportError> {
        let Upload { name, media_type, content, credential } = content;
        let credential = credential.or_else(|| self.credential.clone());
        let content = Content { name, media_type, bytes: content.into() };
        let uploading = upload(&self.inbox, &self.subjects, credential, content);
        timeout(REQUEST_TIMEOUT, uploading).await.map_err(|_elapsed| upload_timed_out())?
    }

    fn observe(&self, watch: &Watch) -> Observations {
        let Watch { run, after, credential } = watch;
        let WatchedRun::Id(run) = run else {
            let message = "over NATS, a run is watched by its id, which the acceptance of its request has";
            let cause = Cause::new(ErrorCode::InvalidRequest, message);
            return stream::once(std::future::ready(Err(TransportError::Rejected(cause)))).boxed();
        };
        let credential = credential.clone().or_else(|| self.credential.clone());
        let headers = RequestHeaders { credential, wants_frames: true, ..RequestHeaders::default() };
        RunWatch::new(self.inbox.clone(), self.subjects.clone(), headers, run.clone(), *after).into_stream()
    }
}

fn too_large(bytes: usize, bytes_max: usize) -> Cause {
    let message = format!(
        "the request has {bytes} bytes without its large inputs, and a message of this server at most {bytes_max}"
    );
    Cause::new(ErrorCode::PayloadTooLarge, message)
}

fn upload_timed_out() -> TransportError {
    let message = "the deadline passed before the content was uploaded";
    TransportError::Rejected(Cause::new(ErrorCode::TimedOut, message))
}
