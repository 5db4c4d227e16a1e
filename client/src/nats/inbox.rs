//! The connection to NATS: one subscription receives the frames of all requests of a client, and each request has a bounded
//! queue of its own. A caller that does not read its queue loses its stream, and delays no other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::client::{PublishError, PublishErrorKind};
use async_nats::connection::State;
use async_nats::{HeaderMap, StatusCode, Subscriber};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use greenroom_protocol::{Cause, ErrorCode, Frame, Reply, RequestHeaders};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::framed::link::{FrameStream, Link, Message};
use crate::transport::TransportError;

/// Frames that arrived and were not read; a stream with more of them ends.
const FRAMES_MAX: usize = 1_024;

/// A message in a queue. A channel allocates its items in blocks of 32: with the messages themselves (about 200 bytes),
/// the queue of a stream without events would take more than 6 KiB, and with their addresses it takes 256 bytes.
type Queued = Box<async_nats::Message>;

/// The queues of the requests in flight, by their numbers.
type Queues = Mutex<HashMap<u64, mpsc::Sender<Queued>>>;

/// The connection of a client, and the subscription by which it receives.
pub(super) struct Inbox {
    client: async_nats::Client,
    /// The servers, as the caller named them.
    address: Arc<str>,
    /// What the subjects of all frames of this client begin with.
    prefix: String,
    queues: Arc<Queues>,
    next_number: AtomicU64,
    router: AbortHandle,
}

impl Inbox {
    /// Subscribes.
    ///
    /// # Errors
    /// [`TransportError::Unreachable`] if the connection is closed.
    pub(super) async fn open(client: async_nats::Client, address: String) -> Result<Self, TransportError> {
        let prefix = format!("{}.", client.new_inbox());
        let subscriber = client.subscribe(format!("{prefix}*")).await;
        let subscriber = subscriber.map_err(|error| unreachable(&address, error.to_string()))?;
        let queues = Arc::<Queues>::default();
        let router = spawn(route(subscriber, Arc::clone(&queues)));
        Ok(Self { client, address: address.into(), prefix, queues, next_number: AtomicU64::new(1), router })
    }

    /// The connection, for messages with one reply.
    pub(super) const fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// The error of a server that cannot be reached.
    pub(super) fn unreachable(&self, reason: String) -> TransportError {
        unreachable(&self.address, reason)
    }

    /// The error of a message that was not sent.
    pub(super) fn publish_error(&self, error: &PublishError) -> TransportError {
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => {
                TransportError::Rejected(Cause::new(ErrorCode::PayloadTooLarge, error.to_string()))
            }
            PublishErrorKind::InvalidSubject => {
                TransportError::Rejected(Cause::new(ErrorCode::InvalidRequest, error.to_string()))
            }
            PublishErrorKind::Send => self.unreachable(error.to_string()),
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.router.abort();
    }
}

#[async_trait]
impl Link for Inbox {
    async fn open(&self, message: Message) -> Result<FrameStream, TransportError> {
        // The library would queue the message until it is connected again, when its caller may have given up.
        if self.client.connection_state() != State::Connected {
            return Err(self.unreachable("the connection to NATS is interrupted".to_owned()));
        }
        let Message { subject, headers, body } = message;
        let headers = header_map(&headers)?;
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel(FRAMES_MAX);
        lock(&self.queues).insert(number, sender);
        let queue = Queue { address: Arc::clone(&self.address), queues: Arc::clone(&self.queues), number, receiver };
        let reply = format!("{}{number}", self.prefix);
        let sent = self.client.publish_with_reply_and_headers(subject, reply, headers, body).await;
        sent.map_err(|error| self.publish_error(&error))?;
        Ok(stream::unfold(queue, Queue::next).boxed())
    }
}

/// The queue of one request; it is removed when its reader drops it.
struct Queue {
    address: Arc<str>,
    queues: Arc<Queues>,
    number: u64,
    receiver: mpsc::Receiver<Queued>,
}

impl Queue {
    async fn next(mut self) -> Option<(Result<Frame, TransportError>, Self)> {
        let frame = match self.receiver.recv().await {
            Some(message) if message.status == Some(StatusCode::NO_RESPONDERS) => {
                Err(unreachable(&self.address, "no pod receives requests".to_owned()))
            }
            Some(message) => decode(&message.payload)?,
            // The queue was full, or the connection is closed.
            None => Err(TransportError::ConnectionLost),
        };
        Some((frame, self))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        lock(&self.queues).remove(&self.number);
    }
}

/// Reads a message; `None` is the end of the frames. A pod that cannot read the headers replies without frames.
fn decode(payload: &[u8]) -> Option<Result<Frame, TransportError>> {
    match Frame::decode(payload) {
        Ok(frame) => frame.map(Ok),
        Err(cause) => Some(match serde_json::from_slice::<Reply>(payload) {
            Ok(reply) => Ok(Frame::Reply { reply: Box::new(reply) }),
            Err(_) => Err(TransportError::InvalidResponse { reason: cause.message }),
        }),
    }
}

/// Moves each message to the queue of its request.
async fn route(mut subscriber: Subscriber, queues: Arc<Queues>) {
    while let Some(message) = subscriber.next().await {
        let Some(number) = message.subject.rsplit('.').next().and_then(|token| token.parse::<u64>().ok()) else {
            continue;
        };
        enqueue(&queues, number, message);
    }
    // Every reader sees the end of the connection.
    lock(&queues).clear();
}

/// Adds a message to the queue with this number. A full queue is removed, which its reader sees as a lost connection.
fn enqueue(queues: &Queues, number: u64, message: async_nats::Message) {
    let mut queues = lock(queues);
    let is_full = queues.get(&number).is_some_and(|queue| queue.try_send(Box::new(message)).is_err());
    if is_full {
        queues.remove(&number);
    }
}

/// Spawns the task that serves an inbox.
#[expect(clippy::disallowed_methods, reason = "the inbox aborts its task when it is dropped")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    tokio::spawn(task).abort_handle()
}

/// Writes the headers of a request.
///
/// # Errors
/// [`TransportError::Rejected`] if the credential cannot be sent.
pub(super) fn header_map(headers: &RequestHeaders) -> Result<HeaderMap, TransportError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers.to_pairs().map_err(TransportError::Rejected)? {
        map.insert(name, value);
    }
    Ok(map)
}

fn unreachable(address: &str, reason: String) -> TransportError {
    TransportError::Unreachable { address: address.to_owned(), reason }
}

/// Locks the queues. A poisoned lock is still consistent: each change is one step.
fn lock(queues: &Queues) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Queued>>> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::PodId;
    use greenroom_protocol::limits::PROTOCOL_VERSION;

    use super::*;

    fn queue(queues: &Arc<Queues>, number: u64) -> FrameStream {
        let (sender, receiver) = mpsc::channel(FRAMES_MAX);
        lock(queues).insert(number, sender);
        let queue = Queue { address: "nats://h".into(), queues: Arc::clone(queues), number, receiver };
        stream::unfold(queue, Queue::next).boxed()
    }

    fn message() -> async_nats::Message {
        let frame = Frame::Accepted { pod: PodId::new("pod").unwrap(), run: None, version: PROTOCOL_VERSION };
        let payload = serde_json::to_vec(&frame).unwrap().into();
        let (reply, headers, status, description) = (None, None, None, None);
        async_nats::Message { subject: "_INBOX.x".into(), reply, payload, headers, status, description, length: 0 }
    }

    #[tokio::test]
    async fn a_reader_that_reads_nothing_loses_its_stream_and_delays_no_other() {
        let queues = Arc::<Queues>::default();
        let (mut idle, mut other) = (queue(&queues, 1), queue(&queues, 2));
        for _ in 0..FRAMES_MAX * 2 {
            enqueue(&queues, 1, message());
            enqueue(&queues, 2, message());
            assert!(matches!(other.next().await, Some(Ok(Frame::Accepted { .. }))));
        }
        assert_eq!(lock(&queues).len(), 1, "nothing more is stored for it");
        for _ in 0..FRAMES_MAX {
            assert!(matches!(idle.next().await, Some(Ok(Frame::Accepted { .. }))));
        }
        assert!(matches!(idle.next().await, Some(Err(TransportError::ConnectionLost))));
        drop((idle, other));
        assert!(lock(&queues).is_empty());
    }

    #[test]
    fn an_item_of_a_queue_is_an_address() {
        // 32 of them are allocated with each queue.
        assert_eq!(size_of::<Queued>(), size_of::<usize>());
        assert!(size_of::<async_nats::Message>() > 128);
    }
}
