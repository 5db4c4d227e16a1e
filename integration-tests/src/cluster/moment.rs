//! Moments of the harness. One monotonic clock orders what the model server, the database and the faults show; the
//! clocks of the pods are no evidence, because a fault shifts them.

use std::time::{Duration, Instant};

/// A moment: microseconds since the start of the harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// The time since an earlier moment; zero if that is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The moment after this much time.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Bounds of the moment of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// The change had not happened yet.
    pub absent_at: Moment,
    /// The change had happened.
    pub present_at: Moment,
}

/// The clock of the harness.
#[derive(Debug, Clone, Copy)]
pub struct HarnessClock {
    started_at: Instant,
}

impl HarnessClock {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Self {
        Self { started_at: Instant::now() }
    }

    /// The current moment.
    #[must_use]
    pub fn now(self) -> Moment {
        Moment::default().plus(self.started_at.elapsed())
    }
}
