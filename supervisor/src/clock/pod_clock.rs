//! The clock of a pod: the time of the database that it shares with other pods, continued by the clock of the machine that
//! also counts while that is suspended. So a wrong wall clock changes no deadline, no timer and no time of a record. A pod
//! whose stores are its own has the clock of its machine.
//!
//! Each renewal of the pod's lease reads the clock of the database between two moments of the machine, so at its end the
//! time of the database is between two bounds that differ by the round trip. The estimate is moved only if it is outside
//! of them. It is therefore never before the time of the database by more than the drift of two clocks in a second, and
//! never after it by more than that and the round trip of the last renewal, which takes two seconds at most.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_protocol::{BootTime, Clock, DatabaseTime, Timestamp};

/// While readers have a later time than the estimate, the clock loses one second in this many, and does not stand still:
/// a timer fires late then, and not only when the database has made up for it.
const SECONDS_PER_LOST_SECOND: u32 = 2;

/// The clock of a pod.
pub struct PodClock {
    machine: Arc<dyn Clock>,
    /// None until a database has reported its time.
    anchor: Mutex<Option<Anchor>>,
}

/// The time of the database at a moment of the machine.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    moment: BootTime,
    /// The estimated time of the database.
    estimate: Timestamp,
    /// How much later than the estimate the time is that readers have at that moment.
    excess: Duration,
}

impl Anchor {
    fn estimate_at(&self, moment: BootTime) -> Timestamp {
        self.estimate.saturating_add(moment.saturating_duration_since(self.moment))
    }

    /// The time that readers have.
    fn read_at(&self, moment: BootTime) -> Timestamp {
        let lost = moment.saturating_duration_since(self.moment) / SECONDS_PER_LOST_SECOND;
        self.estimate_at(moment).saturating_add(self.excess.saturating_sub(lost))
    }
}

impl PodClock {
    /// The clock of a pod on a machine with these clocks.
    #[must_use]
    pub const fn new(machine: Arc<dyn Clock>) -> Self {
        Self { machine, anchor: Mutex::new(None) }
    }

    /// A moment of the machine that is read under this lock is not before one of an earlier reader or renewal.
    fn anchor(&self) -> MutexGuard<'_, Option<Anchor>> {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for PodClock {
    fn now(&self) -> Timestamp {
        let anchor = self.anchor();
        match *anchor {
            Some(followed) => followed.read_at(self.machine.boot_time()),
            None => self.machine.now(),
        }
    }

    fn boot_time(&self) -> BootTime {
        self.machine.boot_time()
    }

    fn wall_offset_micros(&self) -> i64 {
        let machine = self.machine.wall_offset_micros();
        if self.anchor().is_none() {
            return machine;
        }
        let wall = self.machine.now().as_micros().saturating_add(machine);
        wall.saturating_sub(self.now().as_micros())
    }

    fn follow(&self, reading: DatabaseTime) {
        let mut anchor = self.anchor();
        let moment = self.machine.boot_time();
        let earliest = reading.at.saturating_add(moment.saturating_duration_since(reading.received_at));
        let latest = reading.at.saturating_add(moment.saturating_duration_since(reading.sent_at));
        *anchor = Some(match *anchor {
            // Counted from before it was sent, as a lease is.
            None => Anchor { moment, estimate: latest, excess: Duration::ZERO },
            Some(before) => {
                let estimate = before.estimate_at(moment).max(earliest).min(latest);
                Anchor { moment, estimate, excess: before.read_at(moment).saturating_duration_since(estimate) }
            }
        });
    }
}

#[cfg(test)]
mod tests;
