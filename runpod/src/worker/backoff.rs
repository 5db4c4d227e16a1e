//! The delays between the attempts of a worker. The SDK polls without a pause when RunPod refuses; this worker does not.

use std::time::Duration;

use crate::random::jittered;

/// Delays that double up to a bound, with a random part.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays from `first` to `longest`.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next delay.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.longest);
        jittered(delay)
    }

    /// Begins with the shortest delay again.
    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }
}

/// The delays after a result that RunPod has failed to take (5xx): two and three seconds as the SDK waits, then longer ones
/// up to a bound. They are never shorter.
#[derive(Debug, Clone)]
pub(crate) struct ResultDelays {
    unit: Duration,
    previous: u32,
    current: u32,
}

/// The longest delay, in units.
const RESULT_UNITS_MAX: u32 = 30;

impl ResultDelays {
    /// Delays in multiples of `unit`, which is one second but in tests.
    pub(crate) const fn new(unit: Duration) -> Self {
        Self { unit, previous: 1, current: 2 }
    }

    /// The next delay.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let delay = self.unit.saturating_mul(self.current);
        (self.previous, self.current) = (self.current, (self.previous + self.current).min(RESULT_UNITS_MAX));
        delay.saturating_add(jittered(self.unit) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, Duration, ResultDelays};

    #[test]
    fn delays_double_up_to_their_bound() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        for bound in [100, 200, 400, 800, 1_600, 2_000, 2_000] {
            let (delay, bound) = (backoff.next_delay(), Duration::from_millis(bound));
            assert!(delay >= bound / 2 && delay <= bound, "{delay:?} {bound:?}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }

    #[test]
    fn a_result_waits_as_long_as_the_sdk_and_then_longer() {
        let mut delays = ResultDelays::new(Duration::from_secs(1));
        for seconds in [2, 3, 5, 8, 13, 21, 30, 30] {
            let (delay, seconds) = (delays.next_delay(), Duration::from_secs(seconds));
            assert!(delay >= seconds && delay <= seconds + Duration::from_millis(500), "{delay:?}");
        }
    }
}
