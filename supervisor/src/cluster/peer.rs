//! The one actor of a pod that other pods can call: bytes in, bytes out. Its messages are the only ones that ractor sends
//! to another process; what the bytes mean is decided by [`service`], which puts each call through the whole pipeline.
//!
//! ```text
//! call     the id of the call (16 bytes), the length of the caller's id (1 byte), the caller's id, and the envelope of a
//!          request with a delegation. The caller's id is not verified: it only says whose session is in use
//! reply    a reply
//! abandon  the id of a call whose caller does not wait any more
//! ```

pub mod executions;
pub mod outcome;
pub mod service;
mod stored_replies;

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_actors::supervision::linked_tasks::UNBOUNDED;
use greenroom_actors::supervision::{LinkedTasks, TaskOutcome};
use greenroom_protocol::{Cause, ErrorCode, PodId};
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

/// Bytes of the id of a call.
const CALL_ID_BYTES: usize = 16;
/// The variants as they are written on the wire.
const CALL: &str = "call";
const ABANDON: &str = "abandon";

/// The id of a call, which its caller has generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(pub u128);

impl CallId {
    /// The bytes of a call of this pod with this id.
    #[must_use]
    pub fn frame(self, caller: &PodId, body: &[u8]) -> Vec<u8> {
        // An id has at most 128 bytes.
        let length = u8::try_from(caller.as_str().len()).unwrap_or_default();
        [&self.0.to_be_bytes()[..], &[length], caller.as_str().as_bytes(), body].concat()
    }

    /// The bytes that abandon the call.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    /// The id at the beginning of these bytes.
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk::<CALL_ID_BYTES>().map(|id| Self(u128::from_be_bytes(*id)))
    }
}

/// The caller's id and the envelope of a call; `None` if it has not the form of one.
#[must_use]
pub fn split(call: &[u8]) -> Option<(PodId, &[u8])> {
    let (length, rest) = call.get(CALL_ID_BYTES..)?.split_first()?;
    let (caller, envelope) = rest.split_at_checked(usize::from(*length))?;
    let caller = PodId::new(std::str::from_utf8(caller).ok()?).ok()?;
    Some((caller, envelope))
}

/// Serves the calls of other pods.
#[async_trait]
pub trait PeerService: Send + Sync {
    /// The reply to a call: the envelope of a request. The caller is not verified. Dropping the future abandons the call.
    async fn serve(&self, caller: &PodId, envelope: &[u8]) -> Vec<u8>;
}

/// Messages of the peer.
#[derive(Debug)]
pub enum PeerMsg {
    /// A call of another pod. A port that is dropped has no reply, which the caller sees at its deadline.
    Call(Vec<u8>, RpcReplyPort<Vec<u8>>),
    /// Its caller does not wait any more.
    Abandon(Vec<u8>),
    /// A call has ended; this never crosses a process.
    Ended(CallId),
    /// A message of a later release.
    Unknown(String),
}

impl ractor::Message for PeerMsg {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        match self {
            Self::Call(args, reply) => {
                Ok(SerializedMessage::Call { variant: CALL.to_owned(), args, reply, metadata: None })
            }
            Self::Abandon(args) => Ok(SerializedMessage::Cast { variant: ABANDON.to_owned(), args, metadata: None }),
            Self::Ended(_) | Self::Unknown(_) => Err(BoxedDowncastErr),
        }
    }

    /// Reads a message. One that is unknown is no error, so that the log has it.
    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        Ok(match message {
            SerializedMessage::Call { variant, args, reply, .. } if variant == CALL => Self::Call(args, reply),
            SerializedMessage::Cast { variant, args, .. } if variant == ABANDON => Self::Abandon(args),
            SerializedMessage::Call { variant, .. } | SerializedMessage::Cast { variant, .. } => Self::Unknown(variant),
            SerializedMessage::CallReply(..) => Self::Unknown("reply".to_owned()),
        })
    }
}

/// The name of the peer of a pod, by which the nodes of other pods find it among what is offered to them.
#[must_use]
pub fn peer_name(pod: &PodId) -> String {
    format!("greenroom.peer.{pod}")
}

/// The actor.
pub struct Peer {
    /// Serves the calls.
    pub service: Arc<dyn PeerService>,
}

/// State of the peer: the calls under way.
pub struct PeerState {
    calls: LinkedTasks<CallId>,
}

impl Actor for Peer {
    type Msg = PeerMsg;
    type State = PeerState;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<PeerMsg>, (): ()) -> Result<PeerState, ActorProcessingErr> {
        Ok(PeerState { calls: LinkedTasks::default() })
    }

    async fn handle(
        &self,
        myself: ActorRef<PeerMsg>,
        message: PeerMsg,
        state: &mut PeerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PeerMsg::Call(call, reply) => self.start(myself, state, call, reply),
            PeerMsg::Abandon(call) => abandon(state, &call),
            PeerMsg::Ended(call) => {
                state.calls.acknowledge(&call);
            }
            PeerMsg::Unknown(variant) => {
                tracing::warn!(message.variant = variant, "a pod of a later release has sent an unknown message");
            }
        }
        Ok(())
    }
}

impl Peer {
    /// Starts to serve a call. It has a deadline in its envelope, and admission control bounds how many there are.
    fn start(&self, myself: ActorRef<PeerMsg>, state: &mut PeerState, call: Vec<u8>, reply: RpcReplyPort<Vec<u8>>) {
        let Some(id) = CallId::read(&call) else {
            tracing::warn!("a call of another pod has no id");
            return;
        };
        let service = Arc::clone(&self.service);
        let work = async move {
            match split(&call) {
                Some((caller, envelope)) => service.serve(&caller, envelope).await,
                None => outcome::rejection("", Cause::new(ErrorCode::InvalidRequest, "the call has no caller")),
            }
        };
        state.calls.spawn(id, UNBOUNDED, work, move |ended| {
            let bytes = match ended {
                TaskOutcome::Completed(bytes) => bytes,
                TaskOutcome::TimedOut | TaskOutcome::Panicked(_) => outcome::crashed_reply(),
            };
            // Its caller may be gone, and the actor may have stopped.
            let _ = reply.send(bytes);
            let _ = myself.send_message(PeerMsg::Ended(id));
        });
    }
}

fn abandon(state: &mut PeerState, call: &[u8]) {
    if let Some(id) = CallId::read(call)
        && state.calls.abort(&id)
    {
        tracing::debug!(call.id = format!("{:032x}", id.0), "a call was abandoned by its pod");
    }
}

#[cfg(test)]
mod tests;
