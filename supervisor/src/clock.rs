//! The only code that reads the clocks of the machine and generates ids. All other code receives them as arguments, the
//! clock as a [`PodClock`], which follows the database that pods share.

mod pod_clock;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use greenroom_protocol::{BootTime, Clock, IdGenerator, Timestamp};
use nix::time::ClockId;

pub use pod_clock::PodClock;

/// The clock of the machine, which never goes back while the process runs: if an operator or a time server sets it
/// back, the time goes on from the latest one by the monotonic clock. So a timer that waits for a time fires when the
/// time until then has passed, and a deadline is not put off.
#[derive(Debug, Clone, Copy, Default)]
pub struct WallClock;

/// The clock that does not stop while the machine is suspended; elsewhere than on Linux, the monotonic one does not.
#[cfg(target_os = "linux")]
const BOOT_CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const BOOT_CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// The largest difference so far between the wall clock and the time since the start of the process, in microseconds.
static OFFSET: AtomicI64 = AtomicI64::new(i64::MIN);

impl WallClock {
    /// The wall clock as it is set, and the time of this clock, in microseconds.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn read() -> (i64, i64) {
        static STARTED: OnceLock<Instant> = OnceLock::new();
        let elapsed = STARTED.get_or_init(Instant::now).elapsed().as_micros();
        // A clock before 1970 is broken; the epoch is used then.
        let wall = to_micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros());
        (wall, steady_micros(wall, to_micros(elapsed), &OFFSET))
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let (_, steady) = Self::read();
        Timestamp::from_micros(steady)
    }

    fn wall_offset_micros(&self) -> i64 {
        let (wall, steady) = Self::read();
        wall.saturating_sub(steady)
    }

    fn boot_time(&self) -> BootTime {
        // Every supported system has this clock. Without it, every lease has lapsed.
        BOOT_CLOCK.now().map_or(BootTime::MAX, |time| BootTime::from_duration(Duration::from(time)))
    }
}

fn to_micros(micros: u128) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// The wall clock, or the time since its largest value if it was set back.
fn steady_micros(wall: i64, elapsed: i64, offset: &AtomicI64) -> i64 {
    let current = wall.saturating_sub(elapsed);
    let largest = offset.fetch_max(current, Ordering::Relaxed).max(current);
    elapsed.saturating_add(largest)
}

/// Ids that sort by time: UUIDs of version 7.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeOrdered;

impl IdGenerator for TimeOrdered {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that generates ids")]
    fn next_id(&self) -> u128 {
        uuid::Uuid::now_v7().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn the_time_continues_while_the_wall_clock_is_set_back() {
        let offset = AtomicI64::new(i64::MIN);
        let noon = 1_700_000_000 * SECOND;
        assert_eq!(steady_micros(noon, SECOND, &offset), noon);
        // Two seconds later the wall clock has been set back by an hour.
        assert_eq!(steady_micros(noon - 3_600 * SECOND, 3 * SECOND, &offset), noon + 2 * SECOND);
        assert_eq!(steady_micros(noon - 3_590 * SECOND, 13 * SECOND, &offset), noon + 12 * SECOND);
        // It is right again, and a minute ahead.
        assert_eq!(steady_micros(noon + 73 * SECOND, 14 * SECOND, &offset), noon + 73 * SECOND);
        assert_eq!(steady_micros(noon, 15 * SECOND, &offset), noon + 74 * SECOND);
    }

    #[test]
    fn the_clock_never_goes_back() {
        let times: Vec<_> = (0..1_000).map(|_| WallClock.now()).collect();
        assert!(times.is_sorted());
        let times: Vec<_> = (0..1_000).map(|_| WallClock.boot_time()).collect();
        assert!(times.is_sorted() && times[0] > BootTime::default() && times[999] < BootTime::MAX);
        assert!(WallClock.wall_offset_micros().abs() < 60 * SECOND, "nothing has set it back");
    }
}
