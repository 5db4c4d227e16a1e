//! Wakes the writer of a queue, unless it wakes soon enough by itself.
//!
//! To wake a thread costs its caller a system call, and the machine a change of threads. Many commands of a step may be
//! delayed, since one that starts a commit follows at once: they would wake the writer for nothing. A writer that was
//! active within [`LINGER`] wakes by itself before such a command is overdue, so it is only queued.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::time::Duration;

use tokio::sync::Notify;

use super::LINGER;

/// What the writer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum WriterActivity {
    /// It works, and looks at the queue before it waits.
    Awake = 0,
    /// It waits, and looks at the queue within [`LINGER`].
    Lingering = 1,
    /// It waits for a command.
    Idle = 2,
}

/// What both ends of a queue know of the writer.
#[derive(Debug, Default)]
pub(super) struct Wakeup {
    /// A [`WriterActivity`].
    activity: AtomicU8,
    notify: Notify,
}

impl Wakeup {
    /// Wakes the writer if a command that was just queued would wait for longer than it may.
    pub(super) fn on_queued(&self, max_delay: Duration) {
        // The writer states what it does before it looks at the queue for the last time, and callers queue before they look
        // at what it does: one of the two sees the other.
        fence(Ordering::SeqCst);
        let activity = self.activity.load(Ordering::SeqCst);
        let is_patient = activity == WriterActivity::Lingering as u8 && max_delay >= LINGER;
        if activity != WriterActivity::Awake as u8 && !is_patient {
            self.wake();
        }
    }

    fn wake(&self) {
        // Of several callers, one wakes it.
        if self.activity.swap(WriterActivity::Awake as u8, Ordering::SeqCst) != WriterActivity::Awake as u8 {
            self.notify.notify_one();
        }
    }

    /// Notes what the writer does from now on.
    pub(super) fn set(&self, activity: WriterActivity) {
        self.activity.store(activity as u8, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The [`WriterActivity`].
    #[cfg(test)]
    pub(super) fn activity(&self) -> u8 {
        self.activity.load(Ordering::SeqCst)
    }

    /// Waits until a caller wakes the writer.
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }
}

/// The callers' end: its drop wakes the writer, which finds the queue closed.
#[derive(Debug)]
pub(super) struct WakeOnDrop(Arc<Wakeup>);

impl WakeOnDrop {
    pub(super) const fn new(wakeup: Arc<Wakeup>) -> Self {
        Self(wakeup)
    }
}

impl Deref for WakeOnDrop {
    type Target = Wakeup;

    fn deref(&self) -> &Wakeup {
        &self.0
    }
}

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.notify.notify_one();
    }
}
