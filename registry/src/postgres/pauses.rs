//! Pauses of the machine that none of its clocks shows, as a virtual one can be paused from outside. The clock of the
//! database shows them at the next renewal.

use std::time::Duration;

use greenroom_protocol::DatabaseTime;

/// What is subtracted from a lease, because clocks do not run equally fast, and because a shorter pause is not noticed.
pub(super) const LEASE_MARGIN: Duration = Duration::from_millis(300);
/// Two clocks differ by less than one part in this many.
const DRIFT: u32 = 1_000;

/// The pauses between two readings of the clock of the database.
pub(super) struct Pauses {
    last: DatabaseTime,
}

impl Pauses {
    /// Begins with the first reading.
    pub(super) const fn since(first: DatabaseTime) -> Self {
        Self { last: first }
    }

    /// True if the machine was paused since the last reading: the clock of the database has advanced further than this
    /// machine can have measured, or has been set forward.
    pub(super) fn observe(&mut self, reading: DatabaseTime) -> bool {
        let before = std::mem::replace(&mut self.last, reading);
        let longest = reading.received_at.saturating_duration_since(before.sent_at);
        let allowed = longest.saturating_add(longest / DRIFT).saturating_add(LEASE_MARGIN);
        reading.at.saturating_duration_since(before.at) > allowed
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{BootTime, Timestamp};

    use super::*;

    /// A reading of the database at this time, between two moments of the machine, all in milliseconds.
    fn reading(at: i64, sent_at: u64, received_at: u64) -> DatabaseTime {
        let moment = |millis| BootTime::from_duration(Duration::from_millis(millis));
        let at = Timestamp::from_micros(at * 1_000);
        DatabaseTime { at, sent_at: moment(sent_at), received_at: moment(received_at) }
    }

    #[test]
    fn a_slow_reply_is_no_pause() {
        let mut pauses = Pauses::since(reading(1_000, 0, 10));
        assert!(!pauses.observe(reading(2_000, 1_000, 1_010)));
        assert!(!pauses.observe(reading(4_990, 2_000, 4_000)), "executed just before its reply");
        assert!(!pauses.observe(reading(5_010, 4_010, 4_020)));
        // The database was away for an hour, and its clock is a little faster.
        assert!(!pauses.observe(reading(3_605_010 + 3_000, 3_604_000, 3_604_010)));
    }

    #[test]
    fn a_pause_is_noticed_if_it_is_longer_than_the_margin_of_a_lease() {
        let mut pauses = Pauses::since(reading(1_000, 0, 0));
        assert!(!pauses.observe(reading(2_300, 1_000, 1_000)));
        assert!(pauses.observe(reading(3_700, 2_000, 2_000)));
        assert!(!pauses.observe(reading(4_700, 3_000, 3_000)), "it was noticed once");
    }

    #[test]
    fn a_machine_that_measures_more_time_than_the_database_was_not_paused_from_outside() {
        let mut pauses = Pauses::since(reading(10_000, 0, 0));
        assert!(!pauses.observe(reading(10_000, 60_000, 60_000)), "suspended: its own clock shows it");
        assert!(!pauses.observe(reading(5_000, 61_000, 61_000)), "the clock of the database was set back");
    }
}
