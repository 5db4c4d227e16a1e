//! The writer's end of a queue: collects the commands of each commit.

use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use super::wakeup::{Wakeup, WriterActivity};
use super::{BATCH_LENGTH_MAX, BatchCommand, LINGER};

/// The writer's end of the queue.
#[derive(Debug)]
pub(crate) struct CommandReceiver<C> {
    commands: mpsc::Receiver<C>,
    wakeup: Arc<Wakeup>,
    /// Reused, and seldom reset: a timer that is registered wakes the thread that waits for it.
    timer: Option<Pin<Box<Sleep>>>,
    /// True if there was a command since the timer fired.
    is_active: bool,
}

/// Why a wait has ended.
#[derive(PartialEq, Eq)]
enum Wake {
    /// There may be commands, or the queue is closed.
    Commands,
    /// The time has passed.
    Time,
}

impl<C: BatchCommand> CommandReceiver<C> {
    pub(super) const fn new(commands: mpsc::Receiver<C>, wakeup: Arc<Wakeup>) -> Self {
        Self { commands, wakeup, timer: None, is_active: false }
    }

    /// Adds the commands of the next commit to `batch`: at least one, unless `until` passes first, or nothing is queued and
    /// nothing will be. Returns false in the last case.
    pub(crate) async fn next_batch(&mut self, batch: &mut Vec<C>, until: Instant) -> bool {
        let before = batch.len();
        let length_max = before + BATCH_LENGTH_MAX;
        let (mut commit_at, mut checked) = (until, before);
        loop {
            if !self.take(batch, length_max) {
                return batch.len() > before;
            }
            let max_delay = batch.iter().skip(checked).map(BatchCommand::max_delay).min();
            if batch.len() >= length_max || max_delay.is_some_and(|max_delay| max_delay.is_zero()) {
                return true;
            }
            if let Some(max_delay) = max_delay {
                commit_at = commit_at.min(Instant::now() + max_delay);
            }
            checked = batch.len();
            let wake = if checked == before {
                self.wait_first(batch, length_max, until).await
            } else {
                self.wait_as(WriterActivity::Lingering, batch, length_max, commit_at).await
            };
            if wake == Wake::Time {
                // What may be delayed has not woken the writer.
                self.take(batch, length_max);
                if batch.len() > before || Instant::now() >= until {
                    return true;
                }
            }
        }
    }

    /// Takes what is queued and has room in the batch. Returns false if nothing is, and nothing will be.
    fn take(&mut self, batch: &mut Vec<C>, length_max: usize) -> bool {
        let room = length_max.saturating_sub(batch.len());
        let taking = tokio::task::unconstrained(self.commands.recv_many(batch, room));
        let taken = taking.now_or_never();
        self.is_active |= taken.is_some_and(|count| count > 0);
        taken != Some(0) || room == 0
    }

    /// Waits for the first command. After a commit, the next ones follow soon: the writer looks at the queue by itself then,
    /// until there was none for as long as one may be delayed.
    async fn wait_first(&mut self, batch: &mut Vec<C>, length_max: usize, until: Instant) -> Wake {
        let now = Instant::now();
        let (activity, at_most) = match self.is_active {
            true => (WriterActivity::Lingering, until.min(now + LINGER)),
            false => (WriterActivity::Idle, until),
        };
        let due = self.timer.as_ref().map(|timer| timer.deadline());
        let at = due.filter(|due| now < *due && *due <= at_most).unwrap_or(at_most);
        let wake = self.wait_as(activity, batch, length_max, at).await;
        if wake == Wake::Time {
            self.is_active = false;
        }
        wake
    }

    /// Waits for a command that wakes the writer, and takes what was queued before it began to wait.
    async fn wait_as(
        &mut self,
        activity: WriterActivity,
        batch: &mut Vec<C>,
        length_max: usize,
        until: Instant,
    ) -> Wake {
        let taken_before = batch.len();
        self.wakeup.set(activity);
        // A caller that has not queued its command completely will see that the writer waits.
        if !self.take(batch, length_max) || batch.len() > taken_before {
            self.wakeup.set(WriterActivity::Awake);
            return Wake::Commands;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        let wake = tokio::select! {
            biased;
            () = self.wakeup.woken() => Wake::Commands,
            () = timer => Wake::Time,
        };
        self.wakeup.set(WriterActivity::Awake);
        wake
    }

    /// Rejects further commands; those that are queued can still be taken.
    pub(crate) fn close(&mut self) {
        self.commands.close();
    }
}

#[cfg(test)]
mod tests;
