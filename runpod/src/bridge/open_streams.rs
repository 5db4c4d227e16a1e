//! The streams of events that are open, and which of them are stalled. Over HTTP/2, one stream may have a reader that reads
//! nothing while its connection takes the bytes of others, so the bound of the connection does not find it. A stream that is
//! read is polled at each comment at least.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use futures::stream::{BoxStream, Stream};
use tokio::time::Instant;

/// How long the reader of a stream may take nothing.
const STALL_MAX: Duration = Duration::from_secs(45);
/// How often the streams are checked.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The streams of a bridge.
#[derive(Default)]
pub(super) struct OpenStreams(Mutex<Vec<Weak<Mutex<OpenStream>>>>);

struct OpenStream {
    /// What is written; `None` once the stream is stalled.
    chunks: Option<BoxStream<'static, Bytes>>,
    polled_at: Instant,
}

/// The content of a response. It ends with an error once it is stalled.
pub(super) struct StreamContent(Arc<Mutex<OpenStream>>);

impl OpenStreams {
    /// The content that has these chunks.
    pub(super) fn open(&self, chunks: BoxStream<'static, Bytes>) -> StreamContent {
        let stream = Arc::new(Mutex::new(OpenStream { chunks: Some(chunks), polled_at: Instant::now() }));
        lock(&self.0).push(Arc::downgrade(&stream));
        StreamContent(stream)
    }

    /// Drops what is written to readers that take nothing for too long, and returns how many there were.
    pub(super) fn end_stalled(&self) -> usize {
        let mut stalled = Vec::new();
        lock(&self.0).retain(|stream| {
            let Some(stream) = stream.upgrade() else { return false };
            let mut stream = lock(&stream);
            let is_stalled = stream.polled_at.elapsed() >= STALL_MAX;
            if is_stalled {
                stalled.extend(stream.chunks.take());
            }
            !is_stalled
        });
        // They are dropped here, when nothing is locked.
        stalled.len()
    }
}

impl Stream for StreamContent {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut stream = lock(&self.0);
        stream.polled_at = Instant::now();
        match stream.chunks.as_mut() {
            Some(chunks) => chunks.as_mut().poll_next(context).map(|chunk| chunk.map(Ok)),
            None => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "the reader reads nothing");
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

/// Locks a value. A poisoned lock is still consistent: each change is one step.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt, stream};
    use tokio::time::advance;

    use super::*;

    fn endless() -> BoxStream<'static, Bytes> {
        stream::repeat_with(|| Bytes::from_static(b"x")).boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_not_read_in_time_is_dropped_and_one_that_is_read_continues() {
        let streams = OpenStreams::default();
        let (mut stalled, mut other) = (streams.open(endless()), streams.open(endless()));
        assert!(stalled.next().await.unwrap().is_ok());
        for _ in 0..5 {
            advance(CHECK_INTERVAL).await;
            assert!(other.next().await.unwrap().is_ok());
        }
        assert_eq!(streams.end_stalled(), 1);
        assert!(lock(&stalled.0).chunks.is_none(), "nothing is stored for its reader");
        let error = stalled.next().now_or_never().unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(other.next().await.unwrap().is_ok());
        assert_eq!((streams.end_stalled(), lock(&streams.0).len()), (0, 1), "it is counted once");
        drop(other);
        assert_eq!((streams.end_stalled(), lock(&streams.0).len()), (0, 0));
    }
}
