//! A session as a byte stream over a client of NATS: its halves drive the state of [`super::stream`]. Nothing here is a
//! task of its own: the halves do their I/O when the node that reads and writes them polls them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_nats::message::OutboundMessage;
use async_nats::{Client, Subject, Subscriber};
use bytes::Bytes;
use futures::{Sink, StreamExt};
use greenroom_protocol::PodId;
use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::SessionEnv;
use super::chunk::OVERHEAD_BYTES;
use super::observer::{CloseReason, SessionObserver};
use super::stream::{Change, StreamState};
use super::subject::SessionId;

/// How long a session lives without a message. The nodes of both pods send pings at least every five seconds.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How exactly that is measured.
const SILENCE_STEP: Duration = Duration::from_secs(1);
/// The largest content of a chunk; smaller if the server allows less.
const CHUNK_BYTES_MAX: usize = 128 * 1024;

/// What both halves share.
struct Shared {
    inner: Mutex<Inner>,
    /// Where the other pod receives the session.
    subject: Subject,
    peer: PodId,
    observer: Arc<dyn SessionObserver>,
    /// Dropped with both halves.
    _released: watch::Sender<()>,
}

struct Inner {
    stream: StreamState,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the session, unless it has ended.
    fn end(&self, reason: CloseReason) {
        let mut inner = self.inner();
        if inner.stream.close(reason) {
            self.on_ended(inner, reason);
        }
    }

    /// Wakes both halves, which see the end.
    fn on_ended(&self, mut inner: MutexGuard<'_, Inner>, reason: CloseReason) {
        let wakers = [inner.reader.take(), inner.writer.take()];
        drop(inner);
        wakers.into_iter().flatten().for_each(Waker::wake);
        self.observer.on_closed(&self.peer, reason);
    }

    /// Sends a chunk that the state of the stream seals, once the client has room. The number of a chunk is that of its
    /// order in the client, because both halves seal and send it under one lock.
    fn poll_send<T>(
        &self,
        client: &mut Client,
        cx: &mut Context<'_>,
        seal: impl FnOnce(&mut Inner) -> Option<(T, Bytes)>,
    ) -> Poll<Option<T>> {
        let sent = match Sink::<OutboundMessage>::poll_ready(Pin::new(&mut *client), cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_closed)) => Err(()),
            Poll::Ready(Ok(())) => {
                let mut inner = self.inner();
                match seal(&mut inner) {
                    None => Ok(None),
                    Some((value, payload)) => {
                        let message =
                            OutboundMessage { subject: self.subject.clone(), reply: None, payload, headers: None };
                        Sink::start_send(Pin::new(client), message).map(|()| Some(value)).map_err(drop)
                    }
                }
            }
        };
        Poll::Ready(sent.unwrap_or_else(|()| {
            self.end(CloseReason::Connection);
            None
        }))
    }

    /// Sends the chunk that notifies the other end, if the client has room now.
    fn send_last(&self, client: &mut Client) {
        if self.inner().stream.has_last() {
            let mut cx = Context::from_waker(Waker::noop());
            let _ = self.poll_send(client, &mut cx, |inner| Some(((), inner.stream.take_last()?)));
        }
    }
}

/// A session with another pod.
pub struct NatsStream {
    reader: StreamReader,
    writer: StreamWriter,
    own: PodId,
    peer: PodId,
}

/// A handle that ends a session from outside, and waits until nothing uses it.
#[derive(Clone)]
pub struct SessionControl {
    shared: Weak<Shared>,
    released: watch::Receiver<()>,
}

impl SessionControl {
    /// Ends the session.
    pub fn end(&self, reason: CloseReason) {
        if let Some(shared) = self.shared.upgrade() {
            shared.end(reason);
        }
    }

    /// True once both halves of the session are dropped.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.shared.strong_count() == 0
    }

    /// Waits until both halves of the session are dropped.
    pub async fn wait_released(&mut self) {
        // Nothing is sent; the sender is dropped with the halves.
        while self.released.changed().await.is_ok() {}
    }
}

impl NatsStream {
    /// A stream over an open session, whose messages `messages` receives.
    #[must_use]
    pub fn new(
        env: &SessionEnv,
        peer: &PodId,
        session: &SessionId,
        (stream, messages): (StreamState, Subscriber),
        dialled: bool,
    ) -> (Self, SessionControl) {
        let (released_tx, released) = watch::channel(());
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner { stream, reader: None, writer: None }),
            subject: Subject::from(env.subjects.session(peer, session)),
            peer: peer.clone(),
            observer: Arc::clone(&env.observer),
            _released: released_tx,
        });
        let chunk_max = env.client.max_payload().saturating_sub(OVERHEAD_BYTES).clamp(1, CHUNK_BYTES_MAX);
        let reader = StreamReader {
            shared: Arc::clone(&shared),
            client: env.client.clone(),
            messages,
            silence: Box::pin(tokio::time::sleep(SILENCE_MAX)),
            received_at: Instant::now(),
        };
        let writer = StreamWriter { shared: Arc::clone(&shared), client: env.client.clone(), chunk_max };
        env.observer.on_opened(peer, dialled);
        let control = SessionControl { shared: Arc::downgrade(&shared), released };
        (Self { reader, writer, own: env.pod.clone(), peer: peer.clone() }, control)
    }
}

impl ClusterBidiStream for NatsStream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let Self { reader, writer, .. } = *self;
        (Box::new(reader), Box::new(writer))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.peer.to_string())
    }

    fn local_label(&self) -> Option<String> {
        Some(self.own.to_string())
    }
}

struct StreamReader {
    shared: Arc<Shared>,
    client: Client,
    messages: Subscriber,
    silence: Pin<Box<Sleep>>,
    /// When the timer was set last.
    received_at: Instant,
}

impl StreamReader {
    /// Moves received bytes into the buffer. True if there are some, if the session has ended, or if there is no room.
    fn read_received(&mut self, buffer: &mut ReadBuf<'_>, cx: &mut Context<'_>) -> bool {
        let (mut inner, filled) = (self.shared.inner(), buffer.filled().len());
        while buffer.remaining() > 0 {
            let part = inner.stream.read(buffer.remaining());
            if part.is_empty() {
                break;
            }
            buffer.put_slice(&part);
        }
        let has_bytes = buffer.filled().len() > filled || buffer.remaining() == 0;
        if has_bytes || inner.stream.closed().is_some() {
            return true;
        }
        inner.reader = Some(cx.waker().clone());
        false
    }

    fn receive(&mut self, message: &Bytes) {
        let now = Instant::now();
        let mut inner = self.shared.inner();
        match inner.stream.receive(message) {
            Change::Readable => {}
            Change::Writable => {
                let writer = inner.writer.take();
                drop(inner);
                writer.into_iter().for_each(Waker::wake);
            }
            Change::Refused(reason) => {
                drop(inner);
                // It does not count as a sign of life either.
                return self.shared.observer.on_refused(Some(&self.shared.peer), reason);
            }
            Change::Closed(reason) => return self.shared.on_ended(inner, reason),
        }
        if now.duration_since(self.received_at) >= SILENCE_STEP {
            self.received_at = now;
            self.silence.as_mut().reset(now + SILENCE_MAX);
        }
    }

    /// Grants the other end what was read, if that is due and the client has room.
    fn grant(&mut self, cx: &mut Context<'_>) {
        if self.shared.inner().stream.is_grant_due() {
            let _ = self.shared.poll_send(&mut self.client, cx, |inner| Some(((), inner.stream.grant()?)));
        }
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.read_received(buffer, cx) {
                this.grant(cx);
                this.shared.send_last(&mut this.client);
                return Poll::Ready(Ok(()));
            }
            // The client may have had no room for it before.
            this.grant(cx);
            match this.messages.poll_next_unpin(cx) {
                Poll::Ready(Some(message)) => this.receive(&message.payload),
                Poll::Ready(None) => this.shared.end(CloseReason::Connection),
                Poll::Pending if this.silence.as_mut().poll(cx).is_ready() => this.shared.end(CloseReason::Silent),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.shared.end(CloseReason::Local);
        self.shared.send_last(&mut self.client);
    }
}

struct StreamWriter {
    shared: Arc<Shared>,
    client: Client,
    chunk_max: usize,
}

impl StreamWriter {
    /// Waits until bytes may be sent.
    fn poll_credit(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut inner = self.shared.inner();
        if inner.stream.closed().is_some() {
            return Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()));
        }
        if inner.stream.has_credit() {
            return Poll::Ready(Ok(()));
        }
        inner.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for StreamWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match this.poll_credit(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        let chunk_max = this.chunk_max;
        let sent = this.shared.poll_send(&mut this.client, cx, |inner| inner.stream.send(bytes, chunk_max));
        // Only this half uses credit, so there is some left unless the session has ended.
        sent.map(|sent| sent.ok_or_else(|| std::io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        // The client writes what it has as soon as its connection takes it.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        this.shared.end(CloseReason::Local);
        this.shared.send_last(&mut this.client);
        Poll::Ready(Ok(()))
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.shared.end(CloseReason::Local);
        self.shared.send_last(&mut self.client);
    }
}
