//! A share over the last five minutes: how many of those that ended did so in one way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back a rate looks.
pub const WINDOW: Duration = Duration::from_secs(5 * 60);
/// The grain of the window: what lies in one slot leaves together.
const SLOT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    begun: Instant,
    hits: u64,
    all: u64,
}

/// Counts in slots; time is handed in.
#[derive(Debug, Default)]
pub struct Rate {
    buckets: VecDeque<Bucket>,
}

impl Rate {
    /// Counts one that ended, `hit` if in the way that is counted.
    pub fn count(&mut self, hit: bool, now: Instant) {
        self.forget(now);
        match self.buckets.back_mut().filter(|bucket| now.duration_since(bucket.begun) < SLOT) {
            Some(bucket) => {
                bucket.hits += u64::from(hit);
                bucket.all += 1;
            }
            None => self.buckets.push_back(Bucket { begun: now, hits: u64::from(hit), all: 1 }),
        }
    }

    /// The share of hits, 0 to 1; `idle` where nothing ended.
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn ratio(&mut self, idle: f64, now: Instant) -> f64 {
        self.forget(now);
        let (hits, all) =
            self.buckets.iter().fold((0, 0), |(hits, all), bucket| (hits + bucket.hits, all + bucket.all));
        if all == 0 { idle } else { hits as f64 / all as f64 }
    }

    fn forget(&mut self, now: Instant) {
        while self.buckets.front().is_some_and(|bucket| now.duration_since(bucket.begun) >= WINDOW) {
            self.buckets.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_further_back_than_five_minutes_is_forgotten() {
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
