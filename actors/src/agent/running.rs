//! What an agent's actor knows of its executions. Pure: time comes in, nothing is awaited.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// The executions under way, each with what belongs to it.
#[derive(Debug)]
pub(super) struct Core<K, T> {
    running: HashMap<K, (Instant, T)>,
    idle_since: Instant,
    begun: u64,
}

impl<K: Eq + Hash + Copy, T> Core<K, T> {
    pub(super) fn new(now: Instant) -> Self {
        Self { running: HashMap::new(), idle_since: now, begun: 0 }
    }

    /// An execution begins.
    pub(super) fn begin(&mut self, key: K, what: T, now: Instant) {
        self.begun = self.begun.saturating_add(1);
        self.running.insert(key, (now, what));
    }

    /// An execution has ended. `None` if it had ended before: an end counts once.
    pub(super) fn finish(&mut self, key: K, now: Instant) -> Option<(Duration, T)> {
        let (since, what) = self.running.remove(&key)?;
        if self.running.is_empty() {
            self.idle_since = now;
            self.running.shrink_to(IDLE_CAPACITY);
        }
        Some((now.duration_since(since), what))
    }

    /// True if nothing has been under way for this long.
    pub(super) fn idle_for(&self, long: Duration, now: Instant) -> bool {
        self.running.is_empty() && now.duration_since(self.idle_since) >= long
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    pub(super) const fn begun(&self) -> u64 {
        self.begun
    }
}

/// Room that an idle agent keeps, so that a past burst does not hold its memory.
const IDLE_CAPACITY: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_counts_once_and_the_last_one_begins_the_idleness() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut core = Core::new(start);
        core.begin(1, "one", start);
        core.begin(2, "two", start + second);
        assert_eq!(core.finish(1, start + 2 * second), Some((2 * second, "one")));
        assert_eq!(core.finish(1, start + 3 * second), None);
        assert!(!core.idle_for(Duration::ZERO, start + 9 * second), "one is still under way");
        assert_eq!(core.finish(2, start + 4 * second), Some((3 * second, "two")));
        assert!(!core.idle_for(second, start + 4 * second));
        assert!(core.idle_for(second, start + 5 * second));
        assert_eq!((core.running(), core.begun()), (0, 2));
    }
}
