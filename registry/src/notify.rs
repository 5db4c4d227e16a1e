//! Notifies the watchers of a run after a commit, so that they read the store again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::stream::{BoxStream, StreamExt, try_unfold};
use greenroom_protocol::RunId;
use greenroom_protocol::journal::Entry;
use tokio::sync::watch;

use crate::journal::{Journal, JournalError, JournalRecord, Seq};

/// Entries that a tail reads at once.
const TAIL_ENTRIES: u32 = 256;

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

/// The end of a journal, as it is streamed.
struct Tail<J> {
    journal: J,
    run: RunId,
    /// Notifies when there may be more entries.
    notify: watch::Receiver<u64>,
    /// The last entry of the stream.
    after: Seq,
    buffered: VecDeque<JournalRecord>,
    is_done: bool,
}

/// Streams the entries of a run after this one, and later ones when the notifier has them, until the run ends or the
/// notifier is closed.
pub(crate) fn tail<J: Journal + 'static>(
    journal: J,
    run: &RunId,
    notify: watch::Receiver<u64>,
    after: Seq,
) -> BoxStream<'static, Result<JournalRecord, JournalError>> {
    let tail = Tail { journal, run: run.clone(), notify, after, buffered: VecDeque::new(), is_done: false };
    try_unfold(tail, |mut tail| async move { Ok(tail.next().await?.map(|record| (record, tail))) }).boxed()
}

impl<J: Journal> Tail<J> {
    async fn next(&mut self) -> Result<Option<JournalRecord>, JournalError> {
        loop {
            if let Some(record) = self.buffered.pop_front() {
                self.after = record.seq;
                self.is_done |= matches!(record.entry, Entry::RunEnded { .. });
                return Ok(Some(record));
            }
            if self.is_done {
                return Ok(None);
            }
            // A notification between this line and the end of the read ends the wait below at once.
            self.notify.mark_unchanged();
            self.buffered = self.read().await?;
            if self.buffered.is_empty() && self.notify.changed().await.is_err() {
                // The notifier was closed; the entries of the last commit are streamed all the same.
                self.buffered = self.read().await?;
                self.is_done = true;
            }
        }
    }

    async fn read(&self) -> Result<VecDeque<JournalRecord>, JournalError> {
        Ok(self.journal.read(&self.run, self.after, TAIL_ENTRIES).await?.into())
    }
}
