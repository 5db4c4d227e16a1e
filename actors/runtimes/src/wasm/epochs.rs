//! The epochs of the engine, by which a component that computes yields its thread.
//!
//! The code of a component compares the epoch in each loop and at each call. A new epoch suspends it, so that its task is
//! scheduled like any other, and can be dropped at its timeout. Fuel alone would not do that: it counts instructions, and
//! an access that misses every cache, or a function of WASI that computes in the host, costs a component time and no fuel.
//!
//! The ticker has a thread of its own, because components may keep every thread of the pod busy. It only counts while a
//! component runs: neither an idle pod nor a component that waits for its host wakes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use wasmtime::Engine;

/// Duration of an epoch, and so about the longest time that a component runs without yielding.
const EPOCH: Duration = Duration::from_millis(1);

/// The components that run at this moment.
#[derive(Debug, Default)]
pub(super) struct Activity {
    running: AtomicUsize,
    is_ticker_idle: AtomicBool,
    started: Notify,
}

impl Activity {
    /// Counts a component that runs until the guard is dropped.
    pub(super) fn begin(&self) -> RunningComponent<'_> {
        self.running.fetch_add(1, Ordering::SeqCst);
        if self.is_ticker_idle.swap(false, Ordering::SeqCst) {
            self.started.notify_one();
        }
        RunningComponent(self)
    }

    async fn wait_running(&self) {
        if self.running.load(Ordering::SeqCst) > 0 {
            return;
        }
        self.is_ticker_idle.store(true, Ordering::SeqCst);
        // One that has begun since has either seen the flag or is counted.
        if self.running.load(Ordering::SeqCst) == 0 {
            self.started.notified().await;
        }
    }
}

/// A component that runs.
pub(super) struct RunningComponent<'a>(&'a Activity);

impl Drop for RunningComponent<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Increments the epoch of an engine while components run.
#[derive(Clone)]
pub struct EpochTicker {
    engine: Engine,
    activity: Arc<Activity>,
}

impl EpochTicker {
    pub(super) const fn new(engine: Engine, activity: Arc<Activity>) -> Self {
        Self { engine, activity }
    }

    /// Increments the epoch until the future is dropped. It needs a thread of its own, on which nothing else runs.
    pub async fn run(&self) {
        loop {
            self.activity.wait_running().await;
            tokio::time::sleep(EPOCH).await;
            self.engine.increment_epoch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_ticker_waits_until_a_component_runs() {
        let activity = Activity::default();
        let mut waiting = Box::pin(activity.wait_running());
        assert!(futures::poll!(&mut waiting).is_pending(), "nothing runs");
        let running = activity.begin();
        waiting.await;
        // It need not wait while a component runs, and waits again after the last one.
        activity.wait_running().await;
        drop(running);
        assert!(futures::poll!(Box::pin(activity.wait_running())).is_pending());
    }
}
