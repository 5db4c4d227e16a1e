//! The clocks of a machine, put forward: hours pass for a pod without a test waiting for them, as if the machine had been
//! suspended. A timer that is set already does not notice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use greenroom_protocol::{BootTime, Clock, Timestamp};
use greenroom_supervisor::clock::WallClock;

/// The clocks of a machine, put forward.
#[derive(Debug, Default)]
pub struct ShiftedClock {
    shift_micros: AtomicU64,
}

impl ShiftedClock {
    /// Puts the clocks forward by this much.
    pub fn put_forward(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.shift_micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl ShiftedClock {
    fn shift(&self) -> Duration {
        Duration::from_micros(self.shift_micros.load(Ordering::SeqCst))
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        WallClock.now().saturating_add(self.shift())
    }

    fn boot_time(&self) -> BootTime {
        WallClock.boot_time().saturating_add(self.shift())
    }
}
