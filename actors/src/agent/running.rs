//! The running executions of an agent's actor. Pure: the time is an argument, and nothing is awaited.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// The running executions, each with its value.
#[derive(Debug)]
pub(super) struct RunningExecutions<K, T> {
    running: HashMap<K, (Instant, T)>,
    idle_since: Instant,
    started: u64,
}

impl<K: Eq + Hash + Copy, T> RunningExecutions<K, T> {
    pub(super) fn new(now: Instant) -> Self {
        Self { running: HashMap::new(), idle_since: now, started: 0 }
    }

    /// Adds an execution.
    pub(super) fn insert(&mut self, key: K, value: T, now: Instant) {
        self.started = self.started.saturating_add(1);
        self.running.insert(key, (now, value));
    }

    /// Removes an execution. Returns `None` if it was removed before: an end counts once.
    pub(super) fn remove(&mut self, key: K, now: Instant) -> Option<(Duration, T)> {
        let (since, value) = self.running.remove(&key)?;
        if self.running.is_empty() {
            self.idle_since = now;
            self.running.shrink_to(IDLE_CAPACITY);
        }
        Some((now.duration_since(since), value))
    }

    /// True if no execution has run for this long.
    pub(super) fn is_idle_for(&self, timeout: Duration, now: Instant) -> bool {
        self.running.is_empty() && now.duration_since(self.idle_since) >= timeout
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    pub(super) const fn started(&self) -> u64 {
        self.started
    }
}

/// Capacity of an idle agent, so that a past burst does not occupy memory.
const IDLE_CAPACITY: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_counts_once_and_the_last_end_starts_the_idle_time() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut executions = RunningExecutions::new(start);
        executions.insert(1, "one", start);
        executions.insert(2, "two", start + second);
        assert_eq!(executions.remove(1, start + 2 * second), Some((2 * second, "one")));
        assert_eq!(executions.remove(1, start + 3 * second), None);
        assert!(!executions.is_idle_for(Duration::ZERO, start + 9 * second), "one execution still runs");
        assert_eq!(executions.remove(2, start + 4 * second), Some((3 * second, "two")));
        assert!(!executions.is_idle_for(second, start + 4 * second));
        assert!(executions.is_idle_for(second, start + 5 * second));
        assert_eq!((executions.running(), executions.started()), (0, 2));
    }
}
