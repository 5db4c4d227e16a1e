//! The sessions of a pod: dials other pods when it has calls for them, accepts those that dial it, and ends what is idle.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use greenroom_protocol::{IdGenerator, PodId};
use ractor::ActorRef;
use ractor::rpc::CallResult;

use super::node::NodeHandle;
use super::peer::{CallId, PeerMsg};
use super::peer_table::PeerTable;
use super::session::SessionEnv;
use super::session::accept::{self, Incoming};
use super::session::dial::{DialError, dial};
use super::session::nats_stream::{NatsStream, SessionControl};
use super::session::observer::{CloseReason, RefusedMessage};

/// Handshakes under way with pods that dial this one.
const HANDSHAKES_MAX: usize = 64;
/// Longest wait until the nodes of both pods have proved themselves in an open session.
const READY_MAX: Duration = Duration::from_secs(3);
/// Longest wait until a session that was replaced is released.
const RELEASE_MAX: Duration = Duration::from_millis(500);
/// How long a pod keeps a session that no call uses.
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// How often idle sessions are looked for.
const IDLE_INTERVAL: Duration = Duration::from_secs(5);

/// Why a call has no reply.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The pod could not be dialled; it has not received the call.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The nodes have not proved themselves in time; the pod has not received the call.
    #[error("the session with the pod did not become ready")]
    NotReady,
    /// The session was lost; the pod may execute the call.
    #[error("the session with the pod was lost")]
    Lost,
    /// The pod has not replied in time, and may execute the call.
    #[error("the pod has not replied in time")]
    TimedOut,
}

/// The sessions of one pod.
pub struct Sessions {
    env: SessionEnv,
    node: NodeHandle,
    table: Arc<PeerTable>,
    ids: Arc<dyn IdGenerator>,
}

/// Notifies the other pod that its caller does not wait any more, unless the call has ended.
struct AbandonOnDrop {
    peer: ActorRef<PeerMsg>,
    call: CallId,
    is_over: bool,
}

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        if !self.is_over {
            // If the session is lost, the other pod aborts the call at its deadline.
            let _ = self.peer.send_message(PeerMsg::Abandon(self.call.to_bytes()));
        }
    }
}

impl Sessions {
    /// Sessions of this node.
    #[must_use]
    pub fn new(env: SessionEnv, node: NodeHandle, table: Arc<PeerTable>, ids: Arc<dyn IdGenerator>) -> Self {
        Self { env, node, table, ids }
    }

    /// The ids of this pod.
    #[must_use]
    pub fn ids(&self) -> Arc<dyn IdGenerator> {
        Arc::clone(&self.ids)
    }

    /// Calls the peer of a pod. Dropping the future abandons the call.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn call(&self, pod: &PodId, body: &[u8], timeout: Duration) -> Result<Vec<u8>, CallError> {
        let _in_use = self.table.begin_use(pod);
        let peer = self.connect(pod).await?;
        let call = CallId(self.ids.next_id());
        let mut abandon = AbandonOnDrop { peer: peer.clone(), call, is_over: false };
        let frame = call.frame(&self.env.pod, body);
        match peer.call(|reply| PeerMsg::Call(frame, reply), Some(timeout)).await {
            Ok(CallResult::Success(reply)) => {
                abandon.is_over = true;
                Ok(reply)
            }
            Ok(CallResult::Timeout) => Err(CallError::TimedOut),
            Ok(CallResult::SenderError) | Err(_) => {
                abandon.is_over = true;
                self.table.forget(pod, &peer);
                Err(CallError::Lost)
            }
        }
    }

    /// The peer of a pod, which is dialled if there is no session with it. Of concurrent calls, one dials.
    async fn connect(&self, pod: &PodId) -> Result<ActorRef<PeerMsg>, CallError> {
        if let Some(peer) = self.table.ready(pod) {
            return Ok(peer);
        }
        let lock = self.table.dialling_lock(pod);
        let _dials = lock.lock().await;
        if let Some(peer) = self.table.ready(pod) {
            return Ok(peer);
        }
        let _dialling = self.table.begin_dialling(pod);
        match dial(&self.env, pod).await {
            Ok(session) => self.open(pod, session, false).await,
            // The session that the other pod dials becomes ready.
            Err(error) if error.is_simultaneous() => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::timeout(READY_MAX, self.table.wait_ready(pod)).await.map_err(|_| CallError::NotReady)
    }

    /// Hands a session to the node, once those are released that it replaces: the nodes would elect one of them.
    async fn open(&self, pod: &PodId, (stream, control): (NatsStream, SessionControl), is_server: bool) {
        let replaced = self.table.add(pod, control);
        for mut replaced in replaced {
            replaced.end(CloseReason::Replaced);
            // One that is released later is ended by the election.
            let _ = tokio::time::timeout(RELEASE_MAX, replaced.wait_released()).await;
        }
        if !self.node.open(stream, is_server) {
            tracing::warn!(peer.pod = %pod, "the node is not running, and a session is dropped");
        }
    }

    /// Accepts the sessions of pods that dial this one, and ends idle ones.
    ///
    /// # Errors
    /// A message if the client of NATS has ended.
    pub async fn serve(&self) -> Result<(), String> {
        let mut hellos = accept::listen(&self.env).await?;
        let mut handshakes = FuturesUnordered::new();
        let mut idle = tokio::time::interval(IDLE_INTERVAL.min(self.env.idle_max));
        idle.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                hello = hellos.next() => match hello {
                    Some(hello) if handshakes.len() < HANDSHAKES_MAX => {
                        handshakes.push(Box::pin(self.accept(hello.payload)));
                    }
                    Some(_) => self.env.observer.on_refused(None, RefusedMessage::Overloaded),
                    None => return Err("the client of NATS has ended".to_owned()),
                },
                Some(()) = handshakes.next(), if !handshakes.is_empty() => {}
                _ = idle.tick() => self.table.end_idle(self.env.idle_max),
            }
        }
    }

    async fn accept(&self, hello: Bytes) {
        // Of two pods that dial each other, the session remains that the pod with the larger id dials; the nodes have the
        // same rule.
        let refuse = |peer: &PodId| {
            (self.table.is_dialling(peer) && self.env.pod > *peer).then_some(RefusedMessage::Simultaneous)
        };
        if let Some(Incoming { peer, stream, control }) = accept::accept(&self.env, &hello, refuse).await {
            self.open(&peer, (stream, control), true).await;
        }
    }
}
