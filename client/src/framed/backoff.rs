//! The delays between the attempts of a request: they double up to a bound, with a random part, so that the clients of a
//! pod that was lost do not all return at the same moment.

use std::time::Duration;

use super::random::random_fraction;

/// The delay before the first repetition, at most.
const FIRST: Duration = Duration::from_millis(100);
/// The longest delay.
const MAX: Duration = Duration::from_secs(3);

/// The delays of one request.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The delay before the next attempt. It is never shorter than what a pod has requested.
    pub(crate) fn next_delay(&mut self, requested: Option<Duration>) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(MAX);
        // Between the half and the whole.
        let jittered = delay.mul_f64(random_fraction().mul_add(0.5, 0.5));
        requested.unwrap_or_default().saturating_add(jittered)
    }

    /// Begins with the shortest delay again, after an attempt that was successful.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_their_bound_and_are_never_shorter_than_requested() {
        let mut backoff = Backoff::default();
        for bound in [100, 200, 400, 800, 1_600, 3_000, 3_000] {
            let bound = Duration::from_millis(bound);
            let delay = backoff.next_delay(None);
            assert!(delay >= bound / 2 && delay <= bound, "{delay:?} {bound:?}");
        }
        let requested = Duration::from_secs(9);
        assert!(backoff.next_delay(Some(requested)) > requested);
        backoff.reset();
        assert!(backoff.next_delay(None) <= FIRST);
    }
}
