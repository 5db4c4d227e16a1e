//! Since when a store is waited for, without the time in which it waits for the source of content itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use greenroom_registry::artifacts::ArtifactSource;

/// The wait for a store: since this moment, if it is not for the source of content, and has not ended.
pub(super) struct StoreWait(Arc<Mutex<Option<Instant>>>);

impl StoreWait {
    /// A wait that begins now.
    pub(super) fn begin() -> Self {
        Self(Arc::new(Mutex::new(Some(Instant::now()))))
    }

    /// The same content. While its next chunk is awaited, the store is not.
    pub(super) fn without_source<'c>(&self, mut content: ArtifactSource<'c>) -> ArtifactSource<'c> {
        let since = Arc::clone(&self.0);
        stream::poll_fn(move |cx| {
            let polled = content.poll_next_unpin(cx);
            *lock(&since) = polled.is_ready().then(Instant::now);
            polled
        })
        .boxed()
    }

    /// Ends the wait.
    pub(super) fn end(&self) {
        *lock(&self.0) = None;
    }

    /// How long the store is waited for; `None` if it is not.
    pub(super) fn elapsed(&self) -> Option<Duration> {
        lock(&self.0).map(|since| since.elapsed())
    }
}

fn lock(since: &Mutex<Option<Instant>>) -> MutexGuard<'_, Option<Instant>> {
    since.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_store_is_not_waited_for_while_its_source_has_no_chunk() {
        let wait = StoreWait::begin();
        assert!(wait.elapsed().is_some());
        let chunks = stream::iter([Ok(Bytes::from_static(b"first"))]).chain(stream::pending()).boxed();
        let mut content = wait.without_source(chunks);
        assert!(content.next().now_or_never().is_some(), "the first chunk is there");
        assert!(wait.elapsed().is_some(), "the store has a chunk to write");
        assert!(content.next().now_or_never().is_none(), "the second one is not");
        assert_eq!(wait.elapsed(), None);
        drop(content);
        let wait = StoreWait::begin();
        wait.end();
        assert_eq!(wait.elapsed(), None);
    }
}
