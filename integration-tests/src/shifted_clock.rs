//! The clocks of a machine, put forward: hours pass for a pod without a test waiting for them, as if the machine had been
//! suspended. A timer that is set already does not notice. The wall clock can be wrong by itself too.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use greenroom_protocol::{BootTime, Clock, Timestamp};
use greenroom_supervisor::clock::WallClock;

/// The clocks of a machine, put forward.
#[derive(Debug, Default)]
pub struct ShiftedClock {
    shift_micros: AtomicU64,
    wall_error_micros: AtomicI64,
}

impl ShiftedClock {
    /// Puts the clocks forward by this much.
    pub fn put_forward(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.shift_micros.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets only the wall clock, to this many seconds after the right time; before it if they are negative.
    pub fn set_wall_error(&self, seconds: i64) {
        self.wall_error_micros.store(seconds.saturating_mul(1_000_000), Ordering::SeqCst);
    }
}

impl ShiftedClock {
    fn shift(&self) -> Duration {
        Duration::from_micros(self.shift_micros.load(Ordering::SeqCst))
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        let right = WallClock.now().saturating_add(self.shift()).as_micros();
        Timestamp::from_micros(right.saturating_add(self.wall_error_micros.load(Ordering::SeqCst)))
    }

    fn boot_time(&self) -> BootTime {
        WallClock.boot_time().saturating_add(self.shift())
    }
}
