//! The clocks of overloaded providers, shared by all executions: one that is told to wait makes all
//! others wait, instead of each finding out for itself.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{FailureClass, FailurePolicy};

#[derive(Debug, Clone, Copy)]
struct BackoffState {
    until: Instant,
    consecutive_overloads: u32,
}

/// Until when each provider is left alone.
#[derive(Debug, Default)]
pub struct ProviderBackoff {
    holds: Mutex<HashMap<String, BackoffState>>,
}

impl ProviderBackoff {
    /// How long this execution waits before it asks the provider; `None` if it may ask now. Those
    /// that wait come back one after the other, spread over a quarter of the wait by their key.
    #[must_use]
    pub fn delay_for(&self, provider: &str, key: &str, now: Instant) -> Option<Duration> {
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let left = holds.get(provider)?.until.checked_duration_since(now).filter(|left| !left.is_zero())?;
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let share = u32::try_from(hasher.finish() % 256).unwrap_or_default();
        Some(left + left / 4 * share / 256)
    }

    /// The provider has no capacity: everybody waits what it says, or twice as long as last time.
    pub fn record_overload(&self, provider: &str, retry_after: Option<Duration>, now: Instant) {
        let FailurePolicy { backoff, .. } = FailureClass::Overloaded.policy();
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let hold = holds.entry(provider.to_owned()).or_insert(BackoffState { until: now, consecutive_overloads: 0 });
        // Those who asked at the same time strike together, and count as one.
        if hold.until <= now {
            hold.consecutive_overloads = hold.consecutive_overloads.saturating_add(1);
        }
        let wait = retry_after.unwrap_or_default().max(backoff.before(hold.consecutive_overloads.max(1)));
        hold.until = hold.until.max(now + wait);
    }

    /// The provider has answered well.
    pub fn record_success(&self, provider: &str) {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).remove(provider);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_overload_makes_everybody_wait_and_a_good_answer_ends_it() {
        let clocks = ProviderBackoff::default();
        let now = Instant::now();
        assert_eq!(clocks.delay_for("p", "a", now), None);
        clocks.record_overload("p", Some(Duration::from_secs(8)), now);
        for key in ["a", "b", "c"] {
            let wait = clocks.delay_for("p", key, now).unwrap();
            assert!((Duration::from_secs(8)..=Duration::from_secs(10)).contains(&wait), "{wait:?}");
        }
        assert_eq!(clocks.delay_for("q", "a", now), None, "another provider is not concerned");
        clocks.record_success("p");
        assert_eq!(clocks.delay_for("p", "a", now), None);
    }

    #[test]
    fn without_a_word_the_wait_doubles_but_a_crowd_strikes_once() {
        let clocks = ProviderBackoff::default();
        let start = Instant::now();
        for _ in 0..100 {
            clocks.record_overload("p", None, start);
        }
        assert!(clocks.delay_for("p", "a", start).unwrap() <= Duration::from_millis(625));
        clocks.record_overload("p", None, start + Duration::from_secs(1));
        let wait = clocks.delay_for("p", "a", start + Duration::from_secs(1)).unwrap();
        assert!(wait >= Duration::from_secs(1), "{wait:?}");
    }
}
