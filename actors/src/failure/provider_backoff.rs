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

/// The time that an execution has to wait before it may call a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffDelay {
    /// Until the provider may be called again.
    pub remaining: Duration,
    /// The same for this execution: the ends of the delays are spread over a quarter of the back-off.
    pub spread: Duration,
}

/// The back-off state of each provider.
#[derive(Debug, Default)]
pub struct ProviderBackoff {
    states: Mutex<HashMap<String, BackoffState>>,
}

impl ProviderBackoff {
    /// The delay before the execution with this key may call the provider; `None` if it may call now.
    #[must_use]
    pub fn delay_for(&self, provider: &str, key: &str, now: Instant) -> Option<BackoffDelay> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let remaining =
            states.get(provider)?.until.checked_duration_since(now).filter(|remaining| !remaining.is_zero())?;
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let jitter = u32::try_from(hasher.finish() % 256).unwrap_or_default();
        Some(BackoffDelay { remaining, spread: remaining + remaining / 4 * jitter / 256 })
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

    /// Records a successful call that was sent at `sent_at`. A call that was sent before the end of the current delay
    /// says nothing about the provider's capacity since: a slow answer does not end the delay of other calls.
    pub fn record_success(&self, provider: &str, sent_at: Instant) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if states.get(provider).is_some_and(|state| state.until <= sent_at) {
            states.remove(provider);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_overload_delays_all_executions() {
        let backoff_states = ProviderBackoff::default();
        let now = Instant::now();
        assert_eq!(backoff_states.delay_for("p", "a", now), None);
        backoff_states.record_overload("p", Some(Duration::from_secs(8)), now);
        for key in ["a", "b", "c"] {
            let delay = backoff_states.delay_for("p", key, now).unwrap();
            assert_eq!(delay.remaining, Duration::from_secs(8));
            assert!((Duration::from_secs(8)..=Duration::from_secs(10)).contains(&delay.spread), "{delay:?}");
        }
        assert_eq!(backoff_states.delay_for("q", "a", now), None, "another provider is not concerned");
    }

    #[test]
    fn only_the_success_of_a_call_after_the_delay_ends_it() {
        let backoff_states = ProviderBackoff::default();
        let sent_before = Instant::now();
        let overloaded_at = sent_before + Duration::from_secs(1);
        backoff_states.record_overload("p", Some(Duration::from_secs(8)), overloaded_at);
        backoff_states.record_success("p", sent_before);
        let later = overloaded_at + Duration::from_secs(2);
        assert_eq!(backoff_states.delay_for("p", "a", later).unwrap().remaining, Duration::from_secs(6));
        let after = overloaded_at + Duration::from_secs(9);
        backoff_states.record_success("p", after);
        backoff_states.record_overload("p", None, after);
        let first = backoff_states.delay_for("p", "a", after).unwrap().remaining;
        assert_eq!(first, Duration::from_millis(500), "the count of overloads in a row starts again");
    }

    #[test]
    fn without_a_retry_after_the_delay_doubles_and_concurrent_overloads_count_once() {
        let backoff_states = ProviderBackoff::default();
        let start = Instant::now();
        for _ in 0..100 {
            backoff_states.record_overload("p", None, start);
        }
        assert!(backoff_states.delay_for("p", "a", start).unwrap().spread <= Duration::from_millis(625));
        backoff_states.record_overload("p", None, start + Duration::from_secs(1));
        let delay = backoff_states.delay_for("p", "a", start + Duration::from_secs(1)).unwrap();
        assert!(delay.remaining >= Duration::from_secs(1), "{delay:?}");
    }
}
