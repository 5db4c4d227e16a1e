//! A scripted connection for the tests of exchanges and watches: what the pods answer to each message, one after the other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use greenroom_protocol::{
    Cause, ErrorCode, Frame, Metadata, PodId, Reply, RequestHeaders, Status, Timestamp, Values, WrittenVersion,
};

use super::link::{FrameStream, Link, Message};
use crate::transport::TransportError;

/// A pod sends a frame at least this often.
const WORKING_INTERVAL: Duration = Duration::from_secs(10);

/// What follows the frames of an answer.
pub(crate) enum Ending {
    /// The empty message.
    End,
    /// Nothing, for ever.
    Silence,
    /// A sign of work every ten seconds, for ever.
    Working,
    /// The server knows no receiver.
    NoResponders,
}

/// What the pods answer to one message.
pub(crate) struct FramedReply(pub(crate) Vec<Frame>, pub(crate) Ending);

/// The script, and what was sent.
#[derive(Default)]
pub(crate) struct Script {
    replies: Mutex<VecDeque<FramedReply>>,
    sent: Mutex<Vec<Message>>,
}

impl Script {
    pub(crate) fn new(replies: impl IntoIterator<Item = FramedReply>) -> Arc<Self> {
        Arc::new(Self { replies: Mutex::new(replies.into_iter().collect()), ..Self::default() })
    }

    pub(crate) fn sent(&self) -> Vec<Message> {
        self.sent.lock().unwrap().clone()
    }
}

#[async_trait]
impl Link for Script {
    async fn open(&self, message: Message) -> Result<FrameStream, TransportError> {
        self.sent.lock().unwrap().push(message);
        let Some(FramedReply(frames, ending)) = self.replies.lock().unwrap().pop_front() else {
            return Err(no_responders());
        };
        let frames = stream::iter(frames.into_iter().map(Ok::<Frame, TransportError>));
        Ok(match ending {
            Ending::End => frames.boxed(),
            Ending::Silence => frames.chain(stream::pending()).boxed(),
            Ending::Working => frames.chain(stream::repeat(()).then(|()| work()).map(Ok)).boxed(),
            Ending::NoResponders => frames.chain(stream::iter([Err(no_responders())])).boxed(),
        })
    }
}

async fn work() -> Frame {
    tokio::time::sleep(WORKING_INTERVAL).await;
    Frame::Working { at: Timestamp::from_micros(0) }
}

fn no_responders() -> TransportError {
    TransportError::Unreachable { address: "nats".into(), reason: "no pod receives requests".into() }
}

/// A message, whose headers do not matter.
pub(crate) fn message() -> Message {
    Message { subject: "greenroom.v1.requests".into(), headers: RequestHeaders::default(), body: "{}".into() }
}

/// The frame of a pod that accepts.
pub(crate) fn accepted() -> Frame {
    Frame::Accepted { pod: PodId::new("pod").unwrap(), run: None, version: 1 }
}

/// The frame of a reply with this id, and with an error of this code.
pub(crate) fn replied(id: &str, code: Option<ErrorCode>) -> Frame {
    let error = code.map(|code| Cause::new(code, "scripted"));
    let status = error.as_ref().map_or(Status::Success, Status::from_cause);
    let reply = Reply {
        id: id.into(),
        status,
        outputs: Values::new(),
        error,
        metadata: Metadata::default(),
        protocol_version: WrittenVersion::OWN,
    };
    Frame::Reply { reply: Box::new(reply) }
}
