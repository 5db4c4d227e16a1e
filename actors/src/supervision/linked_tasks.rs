//! Tasks that stop with their actor.
//!
//! A linked task is one future with a timeout. Its panic is caught, it ends in exactly one [`TaskOutcome`], and it is
//! aborted when its [`LinkedTasks`] are dropped with the actor's state: on a stop, a kill or a panic. Short-lived
//! work is never an actor, because ractor reports every spawn and exit to every session of the cluster.

use std::any::Any;
use std::collections::HashMap;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::Either;
use tokio::task::AbortHandle;

/// The timeout of a task that is bounded otherwise: by its actor or by a deadline of its own. No timer is started for
/// it.
pub const UNBOUNDED: Duration = Duration::MAX;

/// The outcome of a linked task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskOutcome<T> {
    /// It completed with this value.
    Completed(T),
    /// It exceeded its timeout and was dropped.
    TimedOut,
    /// It panicked with this message.
    Panicked(String),
}

impl<T> TaskOutcome<T> {
    /// Maps the value of a completed task.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> TaskOutcome<U> {
        match self {
            Self::Completed(done) => TaskOutcome::Completed(f(done)),
            Self::TimedOut => TaskOutcome::TimedOut,
            Self::Panicked(message) => TaskOutcome::Panicked(message),
        }
    }
}

/// The tasks of one actor, by key. Dropping this aborts all of them.
#[derive(Debug)]
pub struct LinkedTasks<K> {
    tasks: HashMap<K, AbortHandle>,
}

impl<K> Default for LinkedTasks<K> {
    fn default() -> Self {
        Self { tasks: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone> LinkedTasks<K> {
    /// Starts `work`, bounded by `time_max`. `on_end` receives the outcome; it should send one message to the actor,
    /// which then calls [`LinkedTasks::acknowledge`]. A task with the same key is aborted.
    pub fn spawn<T, F>(
        &mut self,
        key: K,
        time_max: Duration,
        work: F,
        on_end: impl FnOnce(TaskOutcome<T>) + Send + 'static,
    ) where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        // Combinators instead of an async block, whose future would contain the work twice.
        let bounded = if time_max == UNBOUNDED {
            Either::Left(work.map(Ok))
        } else {
            Either::Right(tokio::time::timeout(time_max, work))
        };
        let guarded = AssertUnwindSafe(bounded).catch_unwind();
        let reporting = guarded.map(move |ended| {
            on_end(match ended {
                Ok(Ok(done)) => TaskOutcome::Completed(done),
                Ok(Err(_elapsed)) => TaskOutcome::TimedOut,
                Err(panic) => TaskOutcome::Panicked(panic_message(panic.as_ref())),
            });
        });
        #[expect(clippy::disallowed_methods, reason = "LinkedTasks owns the tasks that it spawns")]
        let task = tokio::spawn(reporting);
        if let Some(previous) = self.tasks.insert(key, task.abort_handle()) {
            previous.abort();
        }
    }

    /// Runs an action once after a delay, unless the actor has stopped.
    pub fn run_after(&mut self, key: K, delay: Duration, action: impl FnOnce() + Send + 'static) {
        self.spawn(key, UNBOUNDED, tokio::time::sleep(delay), move |_| action());
    }

    /// Runs an action every `period`, until it returns false or the actor has stopped.
    pub fn run_every(&mut self, key: K, period: Duration, mut action: impl FnMut() -> bool + Send + 'static) {
        let ticking = async move {
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                if !action() {
                    return;
                }
            }
        };
        self.spawn(key, UNBOUNDED, ticking, |_| ());
    }

    /// Acknowledges an outcome. Returns true the first time, and false if the task was aborted meanwhile, whose
    /// message is then ignored.
    pub fn acknowledge(&mut self, key: &K) -> bool {
        self.tasks.remove(key).is_some()
    }

    /// Aborts a task; its outcome is ignored. Returns true if the task existed.
    pub fn abort(&mut self, key: &K) -> bool {
        match self.tasks.remove(key) {
            Some(task) => {
                task.abort();
                true
            }
            None => false,
        }
    }

    /// Aborts every task whose key matches; their outcomes are ignored.
    pub fn abort_if(&mut self, matches: impl Fn(&K) -> bool) {
        self.tasks.retain(|key, task| {
            let keep = !matches(key);
            if !keep {
                task.abort();
            }
            keep
        });
    }

    /// True if a task with this key has not ended, or its outcome was not acknowledged.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.tasks.contains_key(key)
    }

    /// Number of tasks that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// True if no task runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

impl<K> Drop for LinkedTasks<K> {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

/// The message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    type TaskEnd = (u8, TaskOutcome<u8>);

    fn end_channel() -> (mpsc::Sender<TaskEnd>, mpsc::Receiver<TaskEnd>) {
        mpsc::channel(8)
    }

    fn on_end(sender: &mpsc::Sender<TaskEnd>, key: u8) -> impl FnOnce(TaskOutcome<u8>) + Send + 'static {
        let sender = sender.clone();
        move |ended| {
            let _ = sender.try_send((key, ended));
        }
    }

    /// Notifies when it is dropped.
    struct DropNotifier(Option<tokio::sync::oneshot::Sender<()>>);
    impl Drop for DropNotifier {
        fn drop(&mut self) {
            if let Some(on_end) = self.0.take() {
                let _ = on_end.send(());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_task_ends_once_by_completion_timeout_or_panic() {
        let (sender, mut ends) = end_channel();
        let mut tasks = LinkedTasks::default();
        tasks.spawn(1, LONG, async { 7 }, on_end(&sender, 1));
        tasks.spawn(2, Duration::from_millis(5), std::future::pending(), on_end(&sender, 2));
        tasks.spawn(3, LONG, async { panic!("out of ink") }, on_end(&sender, 3));
        let mut outcomes = HashMap::new();
        for _ in 0..3 {
            let (key, ended) = ends.recv().await.unwrap();
            assert!(tasks.acknowledge(&key), "the first end of a task counts");
            assert!(!tasks.acknowledge(&key), "a second one does not");
            outcomes.insert(key, ended);
        }
        assert_eq!(outcomes[&1], TaskOutcome::Completed(7));
        assert_eq!(outcomes[&2], TaskOutcome::TimedOut);
        assert_eq!(outcomes[&3], TaskOutcome::Panicked("out of ink".into()));
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn an_aborted_task_is_dropped_and_its_end_does_not_count() {
        let (sender, _ends) = end_channel();
        let (on_drop, dropped) = tokio::sync::oneshot::channel();
        let mut tasks = LinkedTasks::default();
        let notifier = DropNotifier(Some(on_drop));
        let work = async move {
            let _notifier = notifier;
            std::future::pending().await
        };
        tasks.spawn(1, LONG, work, on_end(&sender, 1));
        assert!(tasks.contains(&1));
        assert!(tasks.abort(&1));
        dropped.await.unwrap();
        assert!(!tasks.contains(&1) && !tasks.acknowledge(&1));
    }

    #[tokio::test]
    async fn dropping_the_tasks_aborts_all_of_them() {
        let (sender, _ends) = end_channel();
        let (on_drop, dropped) = tokio::sync::oneshot::channel();
        let mut tasks = LinkedTasks::default();
        let notifier = DropNotifier(Some(on_drop));
        let work = async move {
            let _notifier = notifier;
            std::future::pending().await
        };
        tasks.spawn(1, LONG, work, on_end(&sender, 1));
        drop(tasks);
        dropped.await.unwrap();
    }
}
