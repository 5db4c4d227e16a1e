//! What is remembered for a bounded time, in two generations: each lasts one span, so an entry is remembered for at least
//! one span and at most two. Nothing is searched for what has expired, and the number of entries is bounded.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use greenroom_protocol::Timestamp;

/// No more entries are taken until older ones have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Entries of the recent past.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    span: Duration,
    entries_max: usize,
    /// When the current generation began.
    since: Option<Timestamp>,
    current: HashMap<K, V>,
    previous: HashMap<K, V>,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// Nothing yet. Each generation has at most `entries_max` entries.
    pub(crate) fn new(span: Duration, entries_max: usize) -> Self {
        Self { span, entries_max, since: None, current: HashMap::new(), previous: HashMap::new() }
    }

    /// The value of a key, of the newer generation that has one.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.current.get(key).or_else(|| self.previous.get(key))
    }

    /// Adds an entry, or replaces its value.
    pub(crate) fn insert(&mut self, key: K, value: V, now: Timestamp) -> Result<(), Full> {
        self.expire(now);
        if self.current.len() >= self.entries_max && !self.current.contains_key(&key) {
            return Err(Full);
        }
        self.current.insert(key, value);
        Ok(())
    }

    /// Begins another generation, if the current one has lasted its span. A clock that is put back keeps it.
    fn expire(&mut self, now: Timestamp) {
        let Some(since) = self.since else {
            self.since = Some(now);
            return;
        };
        let age = now.saturating_duration_since(since);
        if age >= self.span {
            let ended = std::mem::take(&mut self.current);
            // After two spans without an entry, those of the last generation have expired as well.
            self.previous = if age < self.span * 2 { ended } else { HashMap::new() };
            self.since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn an_entry_is_remembered_for_at_least_one_span_and_at_most_two() {
        let mut recent = Recent::new(SPAN, 10);
        recent.insert("a", 1, at(0)).unwrap();
        recent.insert("b", 1, at(59)).unwrap();
        recent.insert("c", 1, at(60)).unwrap();
        assert_eq!((recent.get(&"a"), recent.get(&"b")), (Some(&1), Some(&1)));
        recent.insert("d", 1, at(120)).unwrap();
        assert_eq!((recent.get(&"b"), recent.get(&"c")), (None, Some(&1)));
        recent.insert("e", 1, at(300)).unwrap();
        assert_eq!((recent.get(&"c"), recent.get(&"d"), recent.get(&"e")), (None, None, Some(&1)));
    }

    #[test]
    fn the_newer_value_of_a_key_counts() {
        let mut recent = Recent::new(SPAN, 10);
        recent.insert("a", 1, at(0)).unwrap();
        recent.insert("a", 2, at(70)).unwrap();
        assert_eq!(recent.get(&"a"), Some(&2));
    }

    #[test]
    fn no_more_entries_are_taken_than_the_bound() {
        let mut recent = Recent::new(SPAN, 2);
        assert_eq!([1, 2, 3].map(|key| recent.insert(key, (), at(0))), [Ok(()), Ok(()), Err(Full)]);
        assert_eq!(recent.insert(2, (), at(1)), Ok(()), "it is known already");
        assert_eq!(recent.insert(3, (), at(60)), Ok(()));
    }
}
