//! Wall-clock time, the time of the machine and generated ids, behind traits, so that a test controls them.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// A moment, in microseconds since 1970-01-01T00:00:00Z; written as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest moment: RFC 3339 has no year before it.
    pub const MIN: Self = Self(-377_705_023_201_000_000);
    /// The latest moment: RFC 3339 has no year after it.
    pub const MAX: Self = Self(253_402_207_200_000_000);

    /// Creates a moment from microseconds since the epoch; outside of the range, the nearest moment.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The moment `after` later, or the latest representable one.
    #[must_use]
    pub fn saturating_add(self, after: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The moment `before` earlier, or the earliest representable one.
    #[must_use]
    pub fn saturating_sub(self, before: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(i64::try_from(before.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(f, "{moment}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = jiff::Error;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(Self(text.parse::<jiff::Timestamp>()?.as_microsecond()))
    }
}

/// The time until which the caller waits for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Deadline(pub Timestamp);

impl Deadline {
    /// The deadline `after` from now.
    #[must_use]
    pub fn after(now: Timestamp, after: Duration) -> Self {
        Self(now.saturating_add(after))
    }

    /// The remaining time; zero after the deadline.
    #[must_use]
    pub fn remaining(self, now: Timestamp) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// True at and after the deadline.
    #[must_use]
    pub fn has_passed(self, now: Timestamp) -> bool {
        now >= self.0
    }

    /// The earlier of two deadlines.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        self.min(other)
    }
}

/// The time since the machine was started. It passes while a process is stopped and while the machine is suspended, which
/// `Instant` does not count, and it does not follow the wall clock. Moments of different machines are not comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootTime(Duration);

impl BootTime {
    /// The latest moment.
    pub const MAX: Self = Self(Duration::MAX);

    /// The moment at which this time has passed since the start of the machine.
    #[must_use]
    pub const fn from_duration(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// The moment `after` later, or the latest one.
    #[must_use]
    pub const fn saturating_add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(after))
    }

    /// The time since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A reading of the clock of a database, which was taken between two moments of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseTime {
    /// The time of the database.
    pub at: Timestamp,
    /// Before the statement that reads it was sent.
    pub sent_at: BootTime,
    /// After its reply was received.
    pub received_at: BootTime,
}

/// Reads the clocks of the machine. Only the composition root creates the real one.
pub trait Clock: Send + Sync {
    /// The present moment. It is never before an earlier one of the same process, whatever happens to the wall clock of
    /// the machine.
    fn now(&self) -> Timestamp;

    /// The present moment of the clock that also counts while the machine is suspended: leases are measured by it.
    fn boot_time(&self) -> BootTime;

    /// The wall clock of the machine, as it is set, less [`Clock::now`], in microseconds. It is negative if the wall
    /// clock is the earlier one. A clock of a test is its own wall clock.
    fn wall_offset_micros(&self) -> i64 {
        0
    }

    /// Receives a time of the database that this pod shares with others. A clock that follows no database ignores it.
    fn follow(&self, _reading: DatabaseTime) {}
}

/// Generates unique numbers. Only the composition root creates the real one.
pub trait IdGenerator: Send + Sync {
    /// Generates a 128-bit number, sortable by time if the source allows.
    fn next_id(&self) -> u128;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_machine_does_not_pass_its_bounds() {
        let second = Duration::from_secs(1);
        let (started, later) = (BootTime::default(), BootTime::from_duration(second));
        assert_eq!(later.saturating_duration_since(started), second);
        assert_eq!(started.saturating_duration_since(later), Duration::ZERO);
        assert_eq!(BootTime::MAX.saturating_add(second), BootTime::MAX);
    }

    #[test]
    fn a_moment_survives_its_text() {
        let moment = Timestamp::from_micros(1_700_000_000_123_456);
        assert_eq!(Timestamp::try_from(moment.to_string()).ok(), Some(moment));
    }

    #[test]
    fn the_earliest_and_the_latest_moment_survive_their_text() {
        let now = Timestamp::from_micros(1);
        for (moment, expected) in [
            (Timestamp::from_micros(i64::MIN), Timestamp::MIN),
            (Timestamp::from_micros(i64::MAX), Timestamp::MAX),
            (now.saturating_add(Duration::MAX), Timestamp::MAX),
            (now.saturating_sub(Duration::MAX), Timestamp::MIN),
            (Deadline::after(now, Duration::MAX).0, Timestamp::MAX),
        ] {
            assert_eq!(moment, expected);
            assert_eq!(Timestamp::try_from(moment.to_string()).ok(), Some(moment), "{moment}");
        }
    }

    #[test]
    fn a_passed_deadline_has_no_remaining_time() {
        let now = Timestamp::from_micros(5_000_000);
        let deadline = Deadline::after(now, Duration::from_secs(1));
        assert_eq!(deadline.remaining(now.saturating_add(Duration::from_secs(3))), Duration::ZERO);
        assert!(deadline.has_passed(now.saturating_add(Duration::from_secs(1))));
        assert!(!deadline.has_passed(now));
    }
}
