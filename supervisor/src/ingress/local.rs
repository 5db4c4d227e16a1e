//! The way in from this process: the in-process transport, and what the control socket hands on.
//! The operating system vouches for the person; which of the configuration's users they speak for is
//! theirs to say.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use greenroom_actors::execution::DeltaSink;
use greenroom_client::transport::Events;
use greenroom_client::{Client, Transport, TransportError};
use greenroom_protocol::event::RunEvent;
use greenroom_protocol::request::Query;
use greenroom_protocol::{
    ArtifactRef, Cause, Clock, Envelope, ErrorCode, IdGenerator, Json, Metadata, Received, Reply, Request, RequestId,
    RunId, Status, UserId, Values,
};
use greenroom_registry::Stores;
use greenroom_registry::journal::Seq;

use super::frame::{AdminCommand, FILE_BYTES_MAX};
use crate::admin::AdminOps;
use crate::pipeline::Pipeline;

/// How long a watch waits for a run that is only being started, and how often it looks.
const RUN_VISIBLE_MAX: Duration = Duration::from_secs(2);
const RUN_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What stands behind every local way in.
#[derive(Clone)]
pub struct LocalIngress {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) stores: Stores,
    pub(crate) admin: Arc<AdminOps>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdGenerator>,
}

impl LocalIngress {
    /// A client that speaks for this user.
    #[must_use]
    pub fn client(&self, user: &UserId) -> Client {
        Client::new(Arc::new(LocalTransport { front: self.clone(), user: user.clone() }))
    }

    /// Lets a request of this user through the whole pipeline.
    pub fn send(&self, user: UserId, envelope: Envelope) -> impl Future<Output = Reply> + Send + use<'_> {
        self.submit(user, envelope, None)
    }

    /// As [`Front::send`]; what a model answers to the request itself is shown as it comes.
    pub fn send_streaming(
        &self,
        user: UserId,
        envelope: Envelope,
        sink: DeltaSink,
    ) -> impl Future<Output = Reply> + Send + use<'_> {
        self.submit(user, envelope, Some(sink))
    }

    /// What the future holds while it waits is the request as it was received, and not its envelope.
    fn submit(
        &self,
        user: UserId,
        envelope: Envelope,
        sink: Option<DeltaSink>,
    ) -> impl Future<Output = Reply> + Send + use<'_> {
        let id = envelope.id.clone().unwrap_or_else(|| RequestId::from_u128(self.ids.next_id()));
        let envelope = Envelope { id: Some(id.clone()), ..envelope };
        let received = Received::local(user, envelope, &*self.ids, self.clock.now());
        let received = received.map_err(|cause| Box::new(refusal(&id, cause)));
        async move {
            match received {
                Ok(received) => self.pipeline.serve_streaming(received, sink).await,
                Err(refusal) => *refusal,
            }
        }
    }

    /// The events of a run. That they may be seen is judged once, when the watch begins; a run that is
    /// being started in this moment is waited for.
    ///
    /// # Errors
    /// What the guard or the store says.
    pub async fn watch(&self, user: UserId, run: RunId, after: u64) -> Result<Events, Cause> {
        self.wait_for_run(&run).await?;
        let look = Query::Events { run: run.clone(), after };
        let reply = self.send(user, Envelope::of(Request::Query(look))).await;
        if let Some(cause) = reply.error {
            return Err(cause);
        }
        let tail = self.stores.journal.tail(&run, Seq(after));
        let events = tail.filter_map(move |kept| {
            let event = match kept {
                Ok(kept) => RunEvent::from_entry(&run, kept.seq.0, kept.at, &kept.entry).map(Ok),
                Err(error) => Some(Err(TransportError::Rejected(error.cause()))),
            };
            futures::future::ready(event)
        });
        Ok(events.boxed())
    }

    async fn wait_for_run(&self, run: &RunId) -> Result<(), Cause> {
        let since = tokio::time::Instant::now();
        while self.stores.runs.get(run).await.map_err(|error| error.cause())?.is_none() {
            if since.elapsed() > RUN_VISIBLE_MAX {
                return Ok(());
            }
            tokio::time::sleep(RUN_POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Keeps a file that its owner hands in.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`]; what the store says.
    pub async fn store_artifact(&self, bytes: Vec<u8>, media_type: &str, name: &str) -> Result<ArtifactRef, Cause> {
        if bytes.len() as u64 > FILE_BYTES_MAX {
            let message = format!("the file has {} bytes, at most {FILE_BYTES_MAX} are taken", bytes.len());
            return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
        }
        self.stores.artifacts.put(bytes, media_type, name).await.map_err(|error| error.cause())
    }

    /// Looks after the stores.
    ///
    /// # Errors
    /// What the store says.
    pub async fn admin(&self, command: AdminCommand) -> Result<Json, Cause> {
        self.admin.run(command).await
    }
}

fn refusal(id: &RequestId, cause: Cause) -> Reply {
    Reply {
        id: id.to_string(),
        status: Status::of(&cause),
        outputs: Values::new(),
        error: Some(cause),
        metadata: Metadata::default(),
    }
}

/// The in-process transport.
struct LocalTransport {
    front: LocalIngress,
    user: UserId,
}

#[async_trait]
impl Transport for LocalTransport {
    // Not an async function: its future would hold the envelope, and beside it what became of it.
    fn send<'s, 'f>(&'s self, envelope: Envelope) -> BoxFuture<'f, Result<Reply, TransportError>>
    where
        's: 'f,
        Self: 'f,
    {
        self.front.send(self.user.clone(), envelope).map(Ok).boxed()
    }

    fn watch(&self, run: &RunId, after: u64) -> Events {
        let (front, user, run) = (self.front.clone(), self.user.clone(), run.clone());
        let opening = async move {
            match front.watch(user, run, after).await {
                Ok(events) => events,
                Err(cause) => stream::once(async { Err(TransportError::Rejected(cause)) }).boxed(),
            }
        };
        stream::once(opening).flatten().boxed()
    }
}
