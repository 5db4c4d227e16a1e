//! What another pod's call becomes: a request that this pod admits, authenticates by its delegation, audits, judges and
//! executes as any other. Only invocations of agents cross pods.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::{
    CallKey, Cause, Clock, ContentHash, ErrorCode, IdGenerator, IngressKind, PodId, Received, Request, RequestId,
    Status,
};
use tokio::sync::mpsc;

use super::PeerService;
use super::executions::{Executions, Work};
use super::outcome::reply_bytes;
use crate::cluster::answers::{AnswerPublisher, EVENTS_MAX};
use crate::cluster::delegation::body_hash;
use crate::cluster::peer_table::PeerTable;
use crate::cluster::text_channel::TextChannel;
use crate::pipeline::Pipeline;

/// Puts the calls of other pods through the pipeline of this one.
pub struct PipelineService {
    pipeline: Arc<Pipeline>,
    executions: Arc<Executions>,
    table: Arc<PeerTable>,
    texts: TextChannel,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGenerator>,
}

impl PipelineService {
    /// A service over the pipeline of this pod, which counts the use of the sessions of this table.
    pub(crate) fn new(
        pipeline: Arc<Pipeline>,
        table: Arc<PeerTable>,
        texts: TextChannel,
        (clock, ids): (Arc<dyn Clock>, Arc<dyn IdGenerator>),
    ) -> Self {
        Self { pipeline, executions: Arc::default(), table, texts, clock, ids }
    }

    /// Decodes a call. It has a key, because a pod that calls again joins the execution.
    fn decode(&self, envelope: &[u8]) -> Result<(Received, CallKey, ContentHash), Cause> {
        let received = Received::decode(envelope, IngressKind::Peer, &*self.ids, self.clock.now())?;
        let Request::Invoke(invoke) = received.request() else {
            return Err(Cause::new(ErrorCode::InvalidRequest, "only invocations of agents are sent to other pods"));
        };
        let Some(key) = invoke.key.clone() else {
            return Err(Cause::new(ErrorCode::InvalidRequest, "a call of another pod has a key"));
        };
        let hash = body_hash(received.request())?;
        Ok((received, key, hash))
    }

    /// The reply to a call that is executed by the pipeline, or joins an execution. The pipeline authenticates, audits and
    /// judges what it executes; a call that joins is authenticated too, before it sees the reply.
    async fn execute(&self, received: Received, key: CallKey, hash: ContentHash) -> Result<Arc<[u8]>, Cause> {
        let mut unexecuted = Some(received);
        let publisher = AnswerPublisher::new(self.texts.clone(), &self.pipeline.pod, &key);
        let location = ReplyLocation { executions: Arc::clone(&self.executions), key: key.clone(), hash };
        let joined = self.executions.join(key, hash, || self.start(unexecuted.take(), publisher, location));
        if let Some(received) = unexecuted {
            let trace = received.trace().clone();
            let request = self.pipeline.authenticator.authenticate(received).await?;
            tracing::info!(request.id = %request.id(), trace_id = %trace, "a call of another pod joins its execution");
        }
        Ok(joined.wait().await)
    }

    fn start(&self, received: Option<Received>, publisher: AnswerPublisher, location: ReplyLocation) -> Work {
        let pipeline = Arc::clone(&self.pipeline);
        Box::pin(async move {
            let Some(received) = received else { return Arc::default() };
            let (sink, events) = mpsc::channel(EVENTS_MAX);
            let served = publisher.publish_while(pipeline.serve(received, Some(sink)), events).await;
            let reply: Arc<[u8]> = Arc::from(reply_bytes(&served.reply));
            if served.reply.status == Status::Success {
                location.executions.keep(location.key, location.hash, Arc::clone(&reply));
            }
            reply
        })
    }
}

/// Where the reply of one execution is kept.
struct ReplyLocation {
    executions: Arc<Executions>,
    key: CallKey,
    hash: ContentHash,
}

#[async_trait]
impl PeerService for PipelineService {
    async fn serve(&self, caller: &PodId, envelope: &[u8]) -> Vec<u8> {
        let _in_use = self.table.begin_use(caller);
        let reject = |cause: Cause| {
            let id = RequestId::from_u128(self.ids.next_id());
            reply_bytes(&self.pipeline.reject_unread(&id, cause))
        };
        match self.decode(envelope) {
            Ok((received, key, hash)) => match Box::pin(self.execute(received, key, hash)).await {
                Ok(reply) => reply.to_vec(),
                Err(cause) => reject(cause),
            },
            Err(cause) => reject(cause),
        }
    }
}
