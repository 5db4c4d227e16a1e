//! A ratio over the last five minutes: how many of the events were hits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Length of the window.
pub const WINDOW: Duration = Duration::from_secs(5 * 60);
/// Length of one bucket; its events leave the window together.
const BUCKET: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    started_at: Instant,
    hits: u64,
    total: u64,
}

/// Counts events in buckets; the caller passes the time.
#[derive(Debug, Default)]
pub struct Rate {
    buckets: VecDeque<Bucket>,
}

impl Rate {
    /// Counts one event.
    pub fn count(&mut self, hit: bool, now: Instant) {
        self.drop_expired(now);
        match self.buckets.back_mut().filter(|bucket| now.duration_since(bucket.started_at) < BUCKET) {
            Some(bucket) => {
                bucket.hits += u64::from(hit);
                bucket.total += 1;
            }
            None => self.buckets.push_back(Bucket { started_at: now, hits: u64::from(hit), total: 1 }),
        }
    }

    /// The share of hits, 0 to 1; `idle` if there was no event.
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more precision")]
    pub fn ratio(&mut self, idle: f64, now: Instant) -> f64 {
        self.drop_expired(now);
        let (hits, total) =
            self.buckets.iter().fold((0, 0), |(hits, total), bucket| (hits + bucket.hits, total + bucket.total));
        if total == 0 { idle } else { hits as f64 / total as f64 }
    }

    fn drop_expired(&mut self, now: Instant) {
        while self.buckets.front().is_some_and(|bucket| now.duration_since(bucket.started_at) >= WINDOW) {
            self.buckets.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_older_than_five_minutes_do_not_count() {
        let start = Instant::now();
        let mut rate = Rate::default();
        assert!((rate.ratio(1.0, start) - 1.0).abs() < f64::EPSILON);
        rate.count(false, start);
        rate.count(true, start + Duration::from_secs(200));
        assert!((rate.ratio(1.0, start + Duration::from_secs(200)) - 0.5).abs() < f64::EPSILON);
        assert!((rate.ratio(0.0, start + Duration::from_secs(301)) - 1.0).abs() < f64::EPSILON);
        assert!(rate.ratio(0.0, start + Duration::from_secs(600)).abs() < f64::EPSILON);
    }
}
