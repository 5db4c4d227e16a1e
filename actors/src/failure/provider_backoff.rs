//! The back-off of overloaded providers, shared by all executions: an overload that one execution meets delays all
//! others.

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

/// The back-off state of each provider.
#[derive(Debug, Default)]
pub struct ProviderBackoff {
    states: Mutex<HashMap<String, BackoffState>>,
}

impl ProviderBackoff {
    /// The delay before this execution may call the provider; `None` if it may call now. The ends of the delays are
    /// spread over a quarter of the back-off by the key.
    #[must_use]
    pub fn delay_for(&self, provider: &str, key: &str, now: Instant) -> Option<Duration> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let remaining =
            states.get(provider)?.until.checked_duration_since(now).filter(|remaining| !remaining.is_zero())?;
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let jitter = u32::try_from(hasher.finish() % 256).unwrap_or_default();
        Some(remaining + remaining / 4 * jitter / 256)
    }

    /// Records an overload: all executions wait for the provider's retry-after, or twice the last delay.
    pub fn record_overload(&self, provider: &str, retry_after: Option<Duration>, now: Instant) {
        let FailurePolicy { backoff, .. } = FailureClass::Overloaded.policy();
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.entry(provider.to_owned()).or_insert(BackoffState { until: now, consecutive_overloads: 0 });
        // Concurrent overloads count as one.
        if state.until <= now {
            state.consecutive_overloads = state.consecutive_overloads.saturating_add(1);
        }
        let wait = retry_after.unwrap_or_default().max(backoff.delay_before(state.consecutive_overloads.max(1)));
        state.until = state.until.max(now + wait);
    }

    /// Records a successful call.
    pub fn record_success(&self, provider: &str) {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).remove(provider);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_overload_delays_all_executions_and_a_success_ends_the_delay() {
        let backoff_states = ProviderBackoff::default();
        let now = Instant::now();
        assert_eq!(backoff_states.delay_for("p", "a", now), None);
        backoff_states.record_overload("p", Some(Duration::from_secs(8)), now);
        for key in ["a", "b", "c"] {
            let wait = backoff_states.delay_for("p", key, now).unwrap();
            assert!((Duration::from_secs(8)..=Duration::from_secs(10)).contains(&wait), "{wait:?}");
        }
        assert_eq!(backoff_states.delay_for("q", "a", now), None, "another provider is not concerned");
        backoff_states.record_success("p");
        assert_eq!(backoff_states.delay_for("p", "a", now), None);
    }

    #[test]
    fn without_a_retry_after_the_delay_doubles_and_concurrent_overloads_count_once() {
        let backoff_states = ProviderBackoff::default();
        let start = Instant::now();
        for _ in 0..100 {
            backoff_states.record_overload("p", None, start);
        }
        assert!(backoff_states.delay_for("p", "a", start).unwrap() <= Duration::from_millis(625));
        backoff_states.record_overload("p", None, start + Duration::from_secs(1));
        let wait = backoff_states.delay_for("p", "a", start + Duration::from_secs(1)).unwrap();
        assert!(wait >= Duration::from_secs(1), "{wait:?}");
    }
}
