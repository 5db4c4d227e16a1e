//! Work that lives and dies with its actor.
//!
//! A linked task is one future with a bound on its time. Its panic is caught, it ends in exactly one
//! [`Ended`], and it is aborted when the [`LinkedTasks`] that hold it are dropped, which is when the
//! actor's state is: on a stop, a kill or a panic. Nothing short-lived is an actor, because ractor
//! tells every session of the cluster of every spawn and death.

use std::any::Any;
use std::collections::HashMap;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::Either;
use tokio::task::AbortHandle;

/// The bound of a task that is bounded by something else: its actor's life, or a deadline of its own.
/// No timer is started for it.
pub const UNBOUNDED: Duration = Duration::MAX;

/// How a linked task ended, told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskOutcome<T> {
    /// It gave this.
    Completed(T),
    /// It took longer than its bound, and was dropped.
    TimedOut,
    /// It panicked; the text is what it said.
    Panicked(String),
}

impl<T> TaskOutcome<T> {
    /// Turns what was done into something else.
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> TaskOutcome<U> {
        match self {
            Self::Completed(done) => TaskOutcome::Completed(with(done)),
            Self::TimedOut => TaskOutcome::TimedOut,
            Self::Panicked(said) => TaskOutcome::Panicked(said),
        }
    }
}

/// The tasks of one actor, by name. Dropping it aborts all of them.
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
    /// Starts `work`, bounded by `time_max`. `tell` takes its end; it should send one message to the
    /// actor, which then calls [`LinkedTasks::ended`]. A task of the same name is aborted first.
    pub fn spawn<T, F>(
        &mut self,
        key: K,
        time_max: Duration,
        work: F,
        tell: impl FnOnce(TaskOutcome<T>) + Send + 'static,
    ) where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        // Combinators and no async block, which would hold the work twice: as it came, and as it waits.
        let bounded = if time_max == UNBOUNDED {
            Either::Left(work.map(Ok))
        } else {
            Either::Right(tokio::time::timeout(time_max, work))
        };
        let guarded = AssertUnwindSafe(bounded).catch_unwind();
        let telling = guarded.map(move |ended| {
            tell(match ended {
                Ok(Ok(done)) => TaskOutcome::Completed(done),
                Ok(Err(_elapsed)) => TaskOutcome::TimedOut,
                Err(panic) => TaskOutcome::Panicked(panic_message(panic.as_ref())),
            });
        });
        #[expect(clippy::disallowed_methods, reason = "this is the place that owns the tasks it spawns")]
        let task = tokio::spawn(telling);
        if let Some(before) = self.tasks.insert(key, task.abort_handle()) {
            before.abort();
        }
    }

    /// Does something once, after a while, unless the actor is gone by then.
    pub fn run_after(&mut self, key: K, wait: Duration, act: impl FnOnce() + Send + 'static) {
        self.spawn(key, UNBOUNDED, tokio::time::sleep(wait), move |_| act());
    }

    /// Does something every `period`, until it answers false or the actor is gone.
    pub fn run_every(&mut self, key: K, period: Duration, mut act: impl FnMut() -> bool + Send + 'static) {
        let ticking = async move {
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                if !act() {
                    return;
                }
            }
        };
        self.spawn(key, UNBOUNDED, ticking, |_| ());
    }

    /// Takes note of an end. True the first time; false if the task was aborted meanwhile, whose
    /// late message then means nothing.
    pub fn acknowledge(&mut self, key: &K) -> bool {
        self.tasks.remove(key).is_some()
    }

    /// Stops a task; its end will not count. True if it was there.
    pub fn abort(&mut self, key: &K) -> bool {
        match self.tasks.remove(key) {
            Some(task) => {
                task.abort();
                true
            }
            None => false,
        }
    }

    /// Stops every task whose name fits; their ends will not count.
    pub fn abort_if(&mut self, fits: impl Fn(&K) -> bool) {
        self.tasks.retain(|key, task| {
            let stays = !fits(key);
            if !stays {
                task.abort();
            }
            stays
        });
    }

    /// How many tasks have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// True if nothing is under way.
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

/// What a panic said.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    type Told = (u8, TaskOutcome<u8>);

    fn told() -> (mpsc::Sender<Told>, mpsc::Receiver<Told>) {
        mpsc::channel(8)
    }

    fn tell(to: &mpsc::Sender<Told>, key: u8) -> impl FnOnce(TaskOutcome<u8>) + Send + 'static {
        let to = to.clone();
        move |ended| {
            let _ = to.try_send((key, ended));
        }
    }

    /// Says when it is dropped.
    struct Noticed(Option<tokio::sync::oneshot::Sender<()>>);
    impl Drop for Noticed {
        fn drop(&mut self) {
            if let Some(tell) = self.0.take() {
                let _ = tell.send(());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_task_ends_once_whether_done_late_or_in_panic() {
        let (to, mut ends) = told();
        let mut tasks = LinkedTasks::default();
        tasks.spawn(1, LONG, async { 7 }, tell(&to, 1));
        tasks.spawn(2, Duration::from_millis(5), std::future::pending(), tell(&to, 2));
        tasks.spawn(3, LONG, async { panic!("out of ink") }, tell(&to, 3));
        let mut seen = HashMap::new();
        for _ in 0..3 {
            let (key, ended) = ends.recv().await.unwrap();
            assert!(tasks.acknowledge(&key), "the first end of a task counts");
            assert!(!tasks.acknowledge(&key), "a second one does not");
            seen.insert(key, ended);
        }
        assert_eq!(seen[&1], TaskOutcome::Completed(7));
        assert_eq!(seen[&2], TaskOutcome::TimedOut);
        assert_eq!(seen[&3], TaskOutcome::Panicked("out of ink".into()));
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn an_aborted_task_is_dropped_and_its_end_does_not_count() {
        let (to, _ends) = told();
        let (gone, noticed) = tokio::sync::oneshot::channel();
        let mut tasks = LinkedTasks::default();
        let held = Noticed(Some(gone));
        let work = async move {
            let _held = held;
            std::future::pending().await
        };
        tasks.spawn(1, LONG, work, tell(&to, 1));
        assert!(tasks.abort(&1));
        noticed.await.unwrap();
        assert!(!tasks.acknowledge(&1));
    }

    #[tokio::test]
    async fn dropping_the_tasks_aborts_all_of_them() {
        let (to, _ends) = told();
        let (gone, noticed) = tokio::sync::oneshot::channel();
        let mut tasks = LinkedTasks::default();
        let held = Noticed(Some(gone));
        let work = async move {
            let _held = held;
            std::future::pending().await
        };
        tasks.spawn(1, LONG, work, tell(&to, 1));
        drop(tasks);
        noticed.await.unwrap();
    }
}
