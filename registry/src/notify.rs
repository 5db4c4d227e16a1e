//! Notifies the watchers of a run after a commit, so that they read the store again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt, try_unfold};
use greenroom_protocol::RunId;
use tokio::sync::watch;

/// One notifier for each run that has watchers.
#[derive(Debug, Default)]
pub(crate) struct RunNotifiers(Mutex<HashMap<RunId, watch::Sender<u64>>>);

impl RunNotifiers {
    fn all(&self) -> MutexGuard<'_, HashMap<RunId, watch::Sender<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to all later notifications of a run.
    pub(crate) fn subscribe(&self, run: &RunId) -> watch::Receiver<u64> {
        self.all().entry(run.clone()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Notifies the watchers of a run. A notifier without watchers is removed.
    pub(crate) fn notify(&self, run: &RunId) {
        let mut all = self.all();
        if let Some(notifier) = all.get(run) {
            notifier.send_modify(|count| *count = count.wrapping_add(1));
            if notifier.receiver_count() == 0 {
                all.remove(run);
            }
        }
    }

    /// Notifies the watchers of every run, because another process may have written to any of them.
    pub(crate) fn notify_all(&self) {
        self.all().retain(|_, notifier| {
            notifier.send_modify(|count| *count = count.wrapping_add(1));
            notifier.receiver_count() > 0
        });
    }

    /// Ends every stream.
    pub(crate) fn close_all(&self) {
        self.all().clear();
    }
}

/// Reads the items after a position.
type Read<T, E> = Box<dyn Fn(u64) -> BoxFuture<'static, Result<Vec<T>, E>> + Send + Sync>;

/// The source of a stream of items that have a position.
pub(crate) struct TailSource<T, E> {
    /// Notifies when there may be more items.
    pub(crate) notify: watch::Receiver<u64>,
    /// The position of the last item of the stream.
    pub(crate) after: u64,
    /// Reads the items after a position.
    pub(crate) read: Read<T, E>,
    /// The position of an item.
    pub(crate) position: fn(&T) -> u64,
    /// True for an item that no other follows.
    pub(crate) is_last: fn(&T) -> bool,
}

struct TailState<T, E> {
    source: TailSource<T, E>,
    buffered: VecDeque<T>,
    is_done: bool,
}

/// Streams the existing items, then later ones, until the last item or until the notifier is closed.
pub(crate) fn tail<T, E>(source: TailSource<T, E>) -> BoxStream<'static, Result<T, E>>
where
    T: Send + 'static,
    E: Send + 'static,
{
    let state = TailState { source, buffered: VecDeque::new(), is_done: false };
    try_unfold(state, |mut state| async move { Ok(state.next().await?.map(|item| (item, state))) }).boxed()
}

impl<T, E> TailState<T, E> {
    async fn next(&mut self) -> Result<Option<T>, E> {
        loop {
            if let Some(item) = self.buffered.pop_front() {
                self.source.after = (self.source.position)(&item);
                self.is_done |= (self.source.is_last)(&item);
                return Ok(Some(item));
            }
            if self.is_done {
                return Ok(None);
            }
            // A notification between this line and the end of the read ends the wait below at once.
            self.source.notify.mark_unchanged();
            self.buffered = (self.source.read)(self.source.after).await?.into();
            if self.buffered.is_empty() && self.source.notify.changed().await.is_err() {
                // The notifier was closed; the items of the last commit are streamed all the same.
                self.buffered = (self.source.read)(self.source.after).await?.into();
                self.is_done = true;
            }
        }
    }
}
