//! The only code that reads the wall clock and generates ids. All other code receives them as arguments.

use std::time::{SystemTime, UNIX_EPOCH};

use greenroom_protocol::{Clock, IdGenerator, Timestamp};

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        // A clock before 1970 is broken; the epoch is used then.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
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
