//! The events of the processes, for metrics and log.

use std::time::Duration;

/// Why a process was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// It has served as many calls, or as long, as it may, or a call has left something in it.
    Recycled,
    /// Another one was needed more, or the pod ends.
    Unused,
    /// Its execution has reached its timeout.
    TimedOut,
    /// Its execution was cancelled.
    Cancelled,
    /// It has ended by itself, or could not be started.
    Died,
    /// It has sent what is no message.
    Broken,
    /// It has written more files than it may.
    Files,
}

impl StopReason {
    /// Every reason.
    pub const ALL: [Self; 7] =
        [Self::Recycled, Self::Unused, Self::TimedOut, Self::Cancelled, Self::Died, Self::Broken, Self::Files];

    /// The reason as metrics and log write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recycled => "recycled",
            Self::Unused => "unused",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Died => "died",
            Self::Broken => "broken",
            Self::Files => "files",
        }
    }
}

/// Receives the events; it must return quickly.
pub trait WorkerObserver: Send + Sync {
    /// A process is ready, this long after its start.
    fn on_start(&self, elapsed: Duration);
    /// A process was ended.
    fn on_stop(&self, reason: StopReason);
}

/// Ignores every event; for tests and tools.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl WorkerObserver for NoObserver {
    fn on_start(&self, _: Duration) {}
    fn on_stop(&self, _: StopReason) {}
}
