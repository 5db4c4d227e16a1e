//! The transport of requests, what it streams, and its errors. A denied or failed request is a [`Reply`]; only a
//! missing reply is a [`TransportError`].

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use greenroom_protocol::event::{EventNumber, RunEvent, WatchedRun};
use greenroom_protocol::journal::StepKey;
use greenroom_protocol::{ArtifactRef, Cause, Credential, Envelope, ErrorCode, FrameId, PodId, Reply, RunId};

/// The reason for a missing reply.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No pod listens at the address, or it ended before it accepted the request, which was not executed.
    #[error("no pod listens at {address}: {reason}")]
    Unreachable {
        /// The address.
        address: String,
        /// The message of the operating system or of the server in between.
        reason: String,
    },
    /// The connection ended before the reply arrived; the request may or may not have been executed.
    #[error("the connection ended before the reply arrived")]
    ConnectionLost,
    /// The response is not a reply.
    #[error("the reply cannot be decoded: {reason}")]
    InvalidResponse {
        /// The decoder's message.
        reason: String,
    },
    /// The request was not sent, because it is invalid, or the pod rejected the request for a stream.
    #[error("{0}")]
    Rejected(Cause),
}

impl From<TransportError> for Cause {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Rejected(cause) => cause,
            TransportError::Unreachable { .. } => Cause::new(ErrorCode::ShuttingDown, error.to_string()),
            TransportError::ConnectionLost => Cause::new(ErrorCode::Interrupted, error.to_string()),
            TransportError::InvalidResponse { .. } => Cause::new(ErrorCode::Internal, error.to_string()),
        }
    }
}

/// The events of a run; the stream ends after the last one.
pub type Events = BoxStream<'static, Result<RunEvent, TransportError>>;

/// A run to watch, and who watches it.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The run.
    pub run: WatchedRun,
    /// The number of the last event that the watcher has.
    pub after: EventNumber,
    /// The credential of the watcher, where the transport does not authenticate otherwise.
    pub credential: Option<Credential>,
}

/// What a watcher of a run receives.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// An event of the run. Each number is received once, in rising order.
    Event(Box<RunEvent>),
    /// More text of the model of a step, as far as it was not lost on its way: only the outputs are complete. It may arrive
    /// before the event with which the attempt began.
    Text {
        /// Its position.
        id: FrameId,
        /// The step.
        step: StepKey,
        /// The text.
        text: String,
    },
    /// The work of the run begins anew, on another pod or by another attempt: the text that it has streamed is void.
    Restarted {
        /// Its position.
        id: FrameId,
        /// The step; absent if it concerns the whole run.
        step: Option<StepKey>,
    },
}

/// The observations of a run; the stream ends after its last event.
pub type Observations = BoxStream<'static, Result<Observation, TransportError>>;

/// The events of what is observed, without texts and restarts.
pub(crate) fn events_of(observations: Observations) -> Events {
    let events = observations.try_filter_map(|observation| {
        let event = match observation {
            Observation::Event(event) => Some(*event),
            Observation::Text { .. } | Observation::Restarted { .. } => None,
        };
        std::future::ready(Ok(event))
    });
    events.boxed()
}

/// Content that becomes an artifact of the caller's tenant.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The file name; never a path.
    pub name: String,
    /// The media type, such as `text/csv`.
    pub media_type: String,
    /// The content.
    pub content: Vec<u8>,
    /// The credential of the caller, where the transport does not authenticate otherwise.
    pub credential: Option<Credential>,
}

/// Content that arrives in chunks of any size. An error is a cause of its source.
pub type ContentChunks = BoxStream<'static, Result<Vec<u8>, Cause>>;

/// What a caller receives while its request is executed.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A pod executes the request. A request that was sent again may be accepted again.
    Accepted {
        /// The pod.
        pod: PodId,
        /// The run that the request starts, if it starts one.
        run: Option<RunId>,
    },
    /// More text of a model's answer.
    Text(String),
    /// The text so far is void: the answer begins anew.
    Restarted,
    /// The reply, which is the last item.
    Reply(Box<Reply>),
}

/// The progress of a request; a stream without an error ends with its reply.
pub type ProgressStream = BoxStream<'static, Result<Progress, TransportError>>;

/// Sends requests to a running pod and returns its replies.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// [`TransportError`] if no reply arrived; a denied or failed request is a reply.
    async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError>;

    /// Streams the events of a run after the number `after`.
    fn watch(&self, run: &WatchedRun, after: EventNumber) -> Events;

    /// Sends a request and streams its progress. A transport that streams no text has only the reply.
    fn stream(self: Arc<Self>, envelope: Envelope) -> ProgressStream
    where
        Self: 'static,
    {
        let sending = async move { self.send(envelope).await.map(|reply| Progress::Reply(Box::new(reply))) };
        stream::once(sending).boxed()
    }

    /// Stores content as an artifact. A transport that stores none rejects it.
    ///
    /// # Errors
    /// [`TransportError`] if it was not stored.
    async fn upload(&self, upload: Upload) -> Result<ArtifactRef, TransportError> {
        let message = format!("`{}` cannot be uploaded over this connection", upload.name);
        Err(TransportError::Rejected(Cause::new(ErrorCode::InvalidRequest, message)))
    }

    /// As [`Transport::upload`], for content that arrives in chunks; that of `upload` is ignored. A transport without an
    /// implementation of its own has all of it in memory before it sends any.
    ///
    /// # Errors
    /// [`TransportError`] if it was not stored; the cause of its source if that has failed.
    async fn upload_stream(&self, upload: Upload, chunks: ContentChunks) -> Result<ArtifactRef, TransportError> {
        let content = chunks.try_concat().await.map_err(TransportError::Rejected)?;
        self.upload(Upload { content, ..upload }).await
    }

    /// Streams what a run reports, for this watcher. A transport that authenticates by itself ignores the credential.
    fn observe(&self, watch: &Watch) -> Observations {
        self.watch(&watch.run, watch.after).map_ok(|event| Observation::Event(Box::new(event))).boxed()
    }
}
