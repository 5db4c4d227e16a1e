//! The ingress of this process: the in-process transport and the requests of the control socket. The
//! operating system has authenticated the person, who chooses one of the configuration's users.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use greenroom_actors::execution::DeltaSink;
use greenroom_client::transport::Events;
use greenroom_client::{Client, ProgressStream, Transport, TransportError, Upload};
use greenroom_protocol::event::{EventNumber, WatchedRun};
use greenroom_protocol::limits::REQUEST_TIMEOUT_MAX;
use greenroom_protocol::request::Query;
use greenroom_protocol::{
    ArtifactRef, Cause, Clock, Deadline, Envelope, ErrorCode, IdGenerator, Received, Reply, Request, RequestId, RunId,
    Timestamp, UserId,
};
use greenroom_registry::Stores;
use greenroom_registry::artifacts::{ArtifactOwner, ArtifactSource, single_chunk};
use greenroom_rego::Authenticated;

use super::watching::run_frames::{self, Frames};
use super::watching::watcher::Watcher;
use super::{answering, watching};
use crate::cluster::step_texts::StepTexts;
use crate::config::SettingsHash;
use crate::pipeline::{Pipeline, Served};

/// Longest wait of a watch for a run that is being started.
const RUN_VISIBLE_MAX: Duration = Duration::from_secs(2);
/// How often the watch checks for the run.
const RUN_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The ingress of this process; the control socket uses it too.
#[derive(Clone)]
pub struct LocalIngress {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) stores: Stores,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdGenerator>,
    /// The hashes of the settings of the pod; those of its users change with a reload.
    pub(crate) settings_hash: Arc<ArcSwap<SettingsHash>>,
    /// The texts of the steps of runs; `None` for a pod without NATS.
    pub(crate) step_texts: Option<Arc<StepTexts>>,
}

impl LocalIngress {
    /// A client that authenticates as this user.
    #[must_use]
    pub fn client(&self, user: &UserId) -> Client {
        Client::new(Arc::new(LocalTransport { ingress: self.clone(), user: user.clone() }))
    }

    /// Sends a request of this user through the whole pipeline.
    pub fn send(&self, user: UserId, envelope: Envelope) -> impl Future<Output = Reply> + Send + use<'_> {
        self.serve(user, envelope, None).map(|served| served.reply)
    }

    /// As [`LocalIngress::send`]; the answer of a model to this request is streamed into `sink`.
    pub fn send_streaming(
        &self,
        user: UserId,
        envelope: Envelope,
        sink: DeltaSink,
    ) -> impl Future<Output = Reply> + Send + use<'_> {
        self.serve(user, envelope, Some(sink)).map(|served| served.reply)
    }

    /// As [`LocalIngress::send`]; the reply has the ticket of its request, for an ingress that has to write it.
    /// The future holds the received request while it waits, and not the envelope.
    pub fn serve(
        &self,
        user: UserId,
        envelope: Envelope,
        sink: Option<DeltaSink>,
    ) -> impl Future<Output = Served> + Send + use<'_> {
        let id = envelope.id.clone();
        let deadline = envelope.deadline.map(|deadline| self.translate(deadline));
        let received = Received::local(user, Envelope { deadline, ..envelope }, &*self.ids, self.clock.now());
        let id = || id.unwrap_or_else(|| RequestId::from_u128(self.ids.next_id()));
        let received = received.map_err(|cause| Box::new(self.pipeline.reject_unread(&id(), cause)));
        async move {
            match received {
                Ok(received) => self.pipeline.serve(received, sink).await,
                Err(reply) => Served { reply: *reply, ticket: None },
            }
        }
    }

    /// A deadline by the clock of the pod. Its caller is on this machine, and has computed it by the wall clock of that.
    fn translate(&self, deadline: Deadline) -> Deadline {
        let micros = deadline.0.as_micros().saturating_sub(self.clock.wall_offset_micros());
        Deadline(Timestamp::from_micros(micros))
    }

    /// The events of a run. The guard authorizes the watch once, when it starts; a run that is being
    /// started is awaited.
    ///
    /// # Errors
    /// Those of the guard and of the store.
    pub async fn watch(&self, user: UserId, watched: WatchedRun, after: EventNumber) -> Result<Events, Cause> {
        let run = match watched {
            WatchedRun::Id(run) => run,
            WatchedRun::StartedBy(name) => {
                let run = self.started_run(&user, name).await?;
                self.wait_for_run(&run).await?;
                run
            }
        };
        let query = Query::Events { run: run.clone(), after };
        let reply = self.send(user, Envelope::new(Request::Query(query))).await;
        if let Some(cause) = reply.error {
            return Err(cause);
        }
        Ok(self.tail(&run, after))
    }

    /// The events of a run after the one of this number, for a watch that was permitted before.
    pub(crate) fn tail(&self, run: &RunId, after: EventNumber) -> Events {
        watching::events(&self.stores, run, after)
    }

    /// As [`LocalIngress::tail`], with the text that the models of the run write, until the caller of the request that was
    /// permitted is revoked.
    ///
    /// # Errors
    /// Those of the authenticator.
    pub(crate) async fn frames(&self, request: Received, run: &RunId, after: EventNumber) -> Result<Frames, Cause> {
        let authenticator = self.pipeline.authenticator.clone();
        let principal = authenticator.authenticate(request).await?.principal().id.clone();
        let watcher = Watcher { principal, authenticator, clock: Arc::clone(&self.clock) };
        Ok(watcher.until_revoked(run_frames::frames(&self.stores, self.step_texts.as_ref(), run, after)))
    }

    /// The run that a request of this user with this name starts.
    async fn started_run(&self, user: &UserId, name: RequestId) -> Result<RunId, Cause> {
        Ok(RunId::for_request(self.authenticate(user, Some(name)).await?.id()))
    }

    /// An authenticated request of this user with this name, for what the ingress itself serves.
    async fn authenticate(&self, user: &UserId, name: Option<RequestId>) -> Result<Authenticated, Cause> {
        let envelope = Envelope { id: name, ..Envelope::new(Request::Query(Query::Agents)) };
        let received = Received::local(user.clone(), envelope, &*self.ids, self.clock.now())?;
        self.pipeline.authenticator.authenticate(received).await
    }

    async fn wait_for_run(&self, run: &RunId) -> Result<(), Cause> {
        let started = tokio::time::Instant::now();
        while self.stores.runs.get(run).await.map_err(|error| error.cause())?.is_none() {
            if started.elapsed() > RUN_VISIBLE_MAX {
                return Ok(());
            }
            tokio::time::sleep(RUN_POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Stores a file that this user uploads as an artifact of the user's tenant. Its content is not read if the user is
    /// not authenticated. An upload lasts no longer than a request, because a sweep removes content that is older and
    /// whose put has not ended.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`]; [`ErrorCode::TimedOut`] after [`REQUEST_TIMEOUT_MAX`]; those of the authenticator,
    /// of the content and of the store.
    pub async fn store_artifact_stream(
        &self,
        user: &UserId,
        content: ArtifactSource<'_>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, Cause> {
        let request = self.authenticate(user, None).await?;
        self.store_content(&request, content, media_type, name).await
    }

    /// As [`LocalIngress::store_artifact_stream`], for the user of an authenticated request.
    pub(crate) async fn store_content(
        &self,
        request: &Authenticated,
        content: ArtifactSource<'_>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, Cause> {
        let owner = ArtifactOwner { tenant: request.principal().id.tenant.clone(), personal_data: false };
        let storing = self.stores.artifacts.put_stream(&owner, content, media_type, name);
        match tokio::time::timeout(REQUEST_TIMEOUT_MAX, storing).await {
            Ok(stored) => stored.map_err(|error| error.cause()),
            Err(_elapsed) => Err(Cause::new(
                ErrorCode::TimedOut,
                format!("the file was not uploaded within {} hours", REQUEST_TIMEOUT_MAX.as_secs() / 3_600),
            )),
        }
    }

    /// As [`LocalIngress::store_artifact_stream`], for a file that is in memory.
    ///
    /// # Errors
    /// As [`LocalIngress::store_artifact_stream`].
    pub async fn store_artifact(
        &self,
        user: &UserId,
        bytes: Vec<u8>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, Cause> {
        self.store_artifact_stream(user, single_chunk(bytes), media_type, name).await
    }
}

/// The in-process transport.
struct LocalTransport {
    ingress: LocalIngress,
    user: UserId,
}

#[async_trait]
impl Transport for LocalTransport {
    // Not an async function: its future would hold the envelope beside the request made from it.
    fn send<'s, 'f>(&'s self, envelope: Envelope) -> BoxFuture<'f, Result<Reply, TransportError>>
    where
        's: 'f,
        Self: 'f,
    {
        self.ingress.send(self.user.clone(), envelope).map(Ok).boxed()
    }

    fn watch(&self, run: &WatchedRun, after: EventNumber) -> Events {
        let (ingress, user, run) = (self.ingress.clone(), self.user.clone(), run.clone());
        let opening = async move {
            match ingress.watch(user, run, after).await {
                Ok(events) => events,
                Err(cause) => stream::once(async { Err(TransportError::Rejected(cause)) }).boxed(),
            }
        };
        stream::once(opening).flatten().boxed()
    }

    fn stream(self: Arc<Self>, envelope: Envelope) -> ProgressStream {
        answering::stream_progress(
            |sink| async move { self.ingress.serve(self.user.clone(), envelope, Some(sink)).await },
        )
    }

    async fn upload(&self, upload: Upload) -> Result<ArtifactRef, TransportError> {
        let Upload { name, media_type, content, .. } = upload;
        let storing = self.ingress.store_artifact(&self.user, content, &media_type, &name);
        storing.await.map_err(TransportError::Rejected)
    }
}
