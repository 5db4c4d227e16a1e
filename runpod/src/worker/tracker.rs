//! The jobs that a worker has taken and not finished, and the newest results: a job that RunPod delivers again is not executed
//! again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// The results that are remembered.
const RESULTS_MAX: usize = 1_024;
/// Bytes of all of them.
const RESULTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The body of a result that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SentResult {
    pub(super) body: Vec<u8>,
    pub(super) is_stream: bool,
}

/// What to do with a job that was taken.
#[derive(Debug)]
pub(super) enum Admission {
    /// Execute it; the receiver becomes true when RunPod cancels it.
    New(watch::Receiver<bool>),
    /// It is being executed.
    UnderWay,
    /// It was executed; its result is sent again.
    Finished(SentResult),
}

#[derive(Default)]
struct State {
    active: BTreeMap<String, watch::Sender<bool>>,
    finished: VecDeque<(String, SentResult)>,
    finished_bytes: usize,
    /// The sum, over all moments, of time divided by the number of jobs.
    shared: Duration,
    changed_at: Option<Instant>,
}

/// The jobs of a worker.
#[derive(Default)]
pub(super) struct Tracker {
    state: Mutex<State>,
}

impl Tracker {
    /// Adds a job, unless it is there.
    pub(super) fn admit(&self, id: &str) -> Admission {
        let mut state = self.lock();
        if state.active.contains_key(id) {
            return Admission::UnderWay;
        }
        let finished = state.finished.iter().find(|(finished, _)| finished == id).map(|(_, result)| result.clone());
        state.settle_time();
        let (cancel, is_cancelled) = watch::channel(false);
        state.active.insert(id.to_owned(), cancel);
        finished.map_or(Admission::New(is_cancelled), Admission::Finished)
    }

    /// Removes a job. A result that was accepted is remembered.
    pub(super) fn remove(&self, id: &str, result: Option<SentResult>) {
        let mut state = self.lock();
        state.settle_time();
        state.active.remove(id);
        if let Some(result) = result.filter(|result| result.body.len() <= RESULTS_BYTES_MAX / 4) {
            state.remember(id, result);
        }
    }

    /// Cancels a job; false if it is not under way.
    pub(super) fn cancel(&self, id: &str) -> bool {
        self.lock().active.get(id).is_some_and(|cancel| !cancel.send_replace(true))
    }

    /// The ids of the jobs under way.
    pub(super) fn ids(&self) -> Vec<String> {
        self.lock().active.keys().cloned().collect()
    }

    /// True if no job is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().active.is_empty()
    }

    /// The time of the worker that each job has used which was under way since its start: a moment is divided equally
    /// among the jobs of that moment. The share of a job is the difference between its end and its beginning.
    pub(super) fn shared_time(&self) -> Duration {
        let mut state = self.lock();
        state.settle_time();
        state.shared
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds the time since the last change.
    fn settle_time(&mut self) {
        let now = Instant::now();
        let elapsed = self.changed_at.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if let Some(share) = u32::try_from(self.active.len()).ok().and_then(|jobs| elapsed.checked_div(jobs)) {
            self.shared = self.shared.saturating_add(share);
        }
    }

    fn remember(&mut self, id: &str, result: SentResult) {
        self.finished.retain(|(finished, _)| finished != id);
        self.finished.push_back((id.to_owned(), result));
        self.finished_bytes = self.finished.iter().map(|(_, result)| result.body.len()).sum();
        while self.finished.len() > RESULTS_MAX || self.finished_bytes > RESULTS_BYTES_MAX {
            let Some((_, oldest)) = self.finished.pop_front() else { return };
            self.finished_bytes = self.finished_bytes.saturating_sub(oldest.body.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, RESULTS_BYTES_MAX, RESULTS_MAX, SentResult, Tracker};

    fn result(bytes: usize) -> Option<SentResult> {
        Some(SentResult { body: vec![b'x'; bytes], is_stream: false })
    }

    #[test]
    fn a_job_that_is_delivered_twice_is_executed_once() {
        let tracker = Tracker::default();
        assert!(matches!(tracker.admit("a"), Admission::New(_)));
        assert!(matches!(tracker.admit("a"), Admission::UnderWay));
        tracker.remove("a", result(3));
        let Admission::Finished(finished) = tracker.admit("a") else { panic!("the result is remembered") };
        assert_eq!(finished.body, b"xxx");
        tracker.remove("a", None);
        assert!(tracker.is_empty());
    }

    #[test]
    fn a_job_without_a_result_is_executed_again() {
        let tracker = Tracker::default();
        assert!(matches!(tracker.admit("a"), Admission::New(_)));
        tracker.remove("a", None);
        assert!(matches!(tracker.admit("a"), Admission::New(_)));
    }

    #[test]
    fn only_a_job_under_way_is_cancelled_and_only_once() {
        let tracker = Tracker::default();
        let Admission::New(is_cancelled) = tracker.admit("a") else { panic!("a new job") };
        assert_eq!((tracker.cancel("b"), tracker.cancel("a"), tracker.cancel("a")), (false, true, false));
        assert!(*is_cancelled.borrow());
    }

    #[test]
    fn the_memory_of_results_has_a_bound() {
        let tracker = Tracker::default();
        for number in 0..RESULTS_MAX + 5 {
            tracker.remove(&number.to_string(), result(1));
        }
        assert!(matches!(tracker.admit("0"), Admission::New(_)));
        for number in 0..8 {
            tracker.remove(&format!("large{number}"), result(RESULTS_BYTES_MAX / 4));
        }
        assert!(matches!(tracker.admit("large0"), Admission::New(_)));
        assert!(matches!(tracker.admit("large7"), Admission::Finished(_)));
    }
}
