//! The transport of the bridge within a pod: requests from HTTP go through the pipeline, each with the credential of its
//! caller. What a request of HTTP looks like is decided in the bridge.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use greenroom_client::transport::Events;
use greenroom_client::{
    ContentChunks, Observation, Observations, Progress, ProgressStream, Transport, TransportError, Upload, Watch,
};
use greenroom_protocol::event::{EventNumber, WatchedRun};
use greenroom_protocol::request::Query;
use greenroom_protocol::{
    ArtifactRef, Cause, Credential, Envelope, ErrorCode, Frame, IngressKind, Received, Reply, Request, RequestHeaders,
    RequestId, UserId,
};

use super::answering;
use super::local::LocalIngress;
use super::watching::run_frames::Frames;
use crate::pipeline::Served;

/// Sends the requests of the bridge through the pipeline of this pod.
pub(crate) struct HttpTransport {
    ingress: LocalIngress,
    /// Who sends requests without a credential, on a machine whose users have no keys.
    development_user: Option<UserId>,
}

impl HttpTransport {
    /// The transport of a pod. A `development_user` sends the requests without a credential.
    pub(crate) const fn new(ingress: LocalIngress, development_user: Option<UserId>) -> Self {
        Self { ingress, development_user }
    }

    /// The request of an envelope, or the reply to one that cannot be read.
    fn receive(&self, envelope: Envelope) -> Result<Received, Box<Reply>> {
        let LocalIngress { pipeline, clock, ids, .. } = &self.ingress;
        let (id, now) = (envelope.id.clone(), clock.now());
        let received = match &self.development_user {
            Some(_) if matches!(envelope.request, Request::Maintain(_)) => {
                let message = "maintenance is requested with the command line of the pod";
                Err(Cause::new(ErrorCode::InvalidRequest, message))
            }
            Some(user) if envelope.credential.is_none() => Received::local(user.clone(), envelope, &**ids, now),
            Some(_) | None => {
                Received::from_message(envelope, RequestHeaders::default(), IngressKind::Http, &**ids, now)
            }
        };
        received.map_err(|cause| {
            let id = id.unwrap_or_else(|| RequestId::from_u128(ids.next_id()));
            Box::new(pipeline.reject_unread(&id, cause))
        })
    }

    /// A query of this caller, for what the ingress itself serves.
    fn receive_query(&self, query: Query, credential: Option<Credential>) -> Result<Received, Cause> {
        let envelope = Envelope { credential, ..Envelope::new(Request::Query(query)) };
        self.receive(envelope).map_err(|reply| cause_of(*reply))
    }
}

/// The frames of a run for this watcher, whom the guard permits to watch it once, when the watch begins. They end when the
/// watcher is revoked.
async fn watch(transport: &HttpTransport, watch: Watch) -> Result<Frames, Cause> {
    let WatchedRun::Id(run) = watch.run else {
        return Err(Cause::new(ErrorCode::InvalidRequest, "over HTTP, a run is watched by its id"));
    };
    let query = Query::Events { run: run.clone(), after: watch.after };
    let received = transport.receive_query(query, watch.credential)?;
    let Served { reply, .. } = transport.ingress.pipeline.serve(received.clone(), None).await;
    match reply.error {
        Some(cause) => Err(cause),
        None => transport.ingress.frames(received, &run, watch.after).await,
    }
}

#[async_trait]
impl Transport for HttpTransport {
    // Not an async function: its future would hold the envelope beside the request made from it.
    fn send<'s, 'f>(&'s self, envelope: Envelope) -> BoxFuture<'f, Result<Reply, TransportError>>
    where
        's: 'f,
        Self: 'f,
    {
        match self.receive(envelope) {
            Ok(received) => self.ingress.pipeline.serve(received, None).map(|served| Ok(served.reply)).boxed(),
            Err(reply) => std::future::ready(Ok(*reply)).boxed(),
        }
    }

    fn watch(&self, run: &WatchedRun, after: EventNumber) -> Events {
        let observations = self.observe(&Watch { run: run.clone(), after, credential: None });
        let events = observations.filter_map(|observation| {
            std::future::ready(match observation {
                Ok(Observation::Event(event)) => Some(Ok(*event)),
                Ok(Observation::Text { .. } | Observation::Restarted { .. }) => None,
                Err(error) => Some(Err(error)),
            })
        });
        events.boxed()
    }

    fn stream(self: Arc<Self>, envelope: Envelope) -> ProgressStream {
        match self.receive(envelope) {
            Ok(received) => {
                let ingress = self.ingress.clone();
                answering::stream_progress(|sink| async move { ingress.pipeline.serve(received, Some(sink)).await })
            }
            Err(reply) => stream::iter([Ok(Progress::Reply(reply))]).boxed(),
        }
    }

    async fn upload(&self, upload: Upload) -> Result<ArtifactRef, TransportError> {
        let mut upload = upload;
        let content = std::mem::take(&mut upload.content);
        self.upload_stream(upload, stream::iter([Ok(content)]).boxed()).await
    }

    async fn upload_stream(&self, upload: Upload, chunks: ContentChunks) -> Result<ArtifactRef, TransportError> {
        let Upload { name, media_type, credential, .. } = upload;
        let content = chunks.map_ok(Bytes::from).boxed();
        let storing = async {
            let received = self.receive_query(Query::Agents, credential)?;
            let request = self.ingress.pipeline.authenticator.authenticate(received).await?;
            self.ingress.store_content(&request, content, &media_type, &name).await
        };
        storing.await.map_err(TransportError::Rejected)
    }

    fn observe(&self, watched: &Watch) -> Observations {
        let transport = Self { ingress: self.ingress.clone(), development_user: self.development_user.clone() };
        let watched = watched.clone();
        let opening = async move {
            match watch(&transport, watched).await {
                Ok(frames) => frames.try_filter_map(|frame| std::future::ready(Ok(observation_of(frame)))).boxed(),
                Err(cause) => stream::iter([Err(TransportError::Rejected(cause))]).boxed(),
            }
        };
        stream::once(opening).flatten().boxed()
    }
}

fn observation_of(frame: Frame) -> Option<Observation> {
    match frame {
        Frame::Event { event, .. } => Some(Observation::Event(Box::new(event))),
        Frame::Delta { id, step: Some(step), text } => Some(Observation::Text { id, step, text }),
        Frame::Restarted { id, step } => Some(Observation::Restarted { id, step }),
        Frame::Delta { step: None, .. }
        | Frame::Accepted { .. }
        | Frame::Working { .. }
        | Frame::Reply { .. }
        | Frame::Refused { .. }
        | Frame::Unknown => None,
    }
}

fn cause_of(reply: Reply) -> Cause {
    reply.error.unwrap_or_else(|| Cause::new(ErrorCode::Internal, "a request was rejected without a cause"))
}
