//! Waking those who watch a run: a bell rings after the commit, and its hearers read the store.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt, try_unfold};
use greenroom_protocol::RunId;
use tokio::sync::watch;

/// One bell for each run that somebody watches.
#[derive(Debug, Default)]
pub(crate) struct RunNotifiers(Mutex<HashMap<RunId, watch::Sender<u64>>>);

impl RunNotifiers {
    fn all(&self) -> MutexGuard<'_, HashMap<RunId, watch::Sender<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears every ring from now on.
    pub(crate) fn subscribe(&self, run: &RunId) -> watch::Receiver<u64> {
        self.all().entry(run.clone()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Says that there is something new; a bell that nobody hears any more is taken down.
    pub(crate) fn notify(&self, run: &RunId) {
        let mut all = self.all();
        if let Some(bell) = all.get(run) {
            bell.send_modify(|rings| *rings = rings.wrapping_add(1));
            if bell.receiver_count() == 0 {
                all.remove(run);
            }
        }
    }

    /// Ends every stream that waits for this run.
    pub(crate) fn close(&self, run: &RunId) {
        self.all().remove(run);
    }

    /// Ends every stream that waits.
    pub(crate) fn close_all(&self) {
        self.all().clear();
    }
}

/// Reads what lies behind a place.
type Read<T, E> = Box<dyn Fn(u64) -> BoxFuture<'static, Result<Vec<T>, E>> + Send + Sync>;

/// What a stream of things that have a place needs to go on.
pub(crate) struct TailSource<T, E> {
    /// Rings when there is more.
    pub(crate) notify: watch::Receiver<u64>,
    /// The place of the last thing that was given.
    pub(crate) after: u64,
    /// Reads what lies behind a place.
    pub(crate) read: Read<T, E>,
    /// The place of a thing.
    pub(crate) position: fn(&T) -> u64,
    /// True for a thing that nothing follows.
    pub(crate) is_last: fn(&T) -> bool,
}

struct TailState<T, E> {
    source: TailSource<T, E>,
    buffered: VecDeque<T>,
    is_done: bool,
}

/// Gives what is there, then what comes, until the last thing or until the bell is taken down.
pub(crate) fn tail<T, E>(follow: TailSource<T, E>) -> BoxStream<'static, Result<T, E>>
where
    T: Send + 'static,
    E: Send + 'static,
{
    let state = TailState { source: follow, buffered: VecDeque::new(), is_done: false };
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
            // A ring between this line and the end of the read is heard at the wait below.
            self.source.notify.mark_unchanged();
            self.buffered = (self.source.read)(self.source.after).await?.into();
            if self.buffered.is_empty() && self.source.notify.changed().await.is_err() {
                // The bell came down; what was written just before is given all the same.
                self.buffered = (self.source.read)(self.source.after).await?.into();
                self.is_done = true;
            }
        }
    }
}
