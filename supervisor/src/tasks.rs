//! What has to run beside the actors: the writers of the stores, the exporter, the watcher, the
//! control socket. Beside the linked tasks of actors, this is the only place that spawns.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Reports that wait to be read; one for each task is enough.
const REPORTS_MAX: usize = 64;

/// What the end of a task means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// Nothing can be recorded any more, so nothing may be done: the process ends.
    StopPod,
    /// The platform goes on without it, and says so.
    Continue,
}

/// A task that ended although nobody stopped it.
#[derive(Debug)]
pub struct FailedTask {
    /// Which.
    pub name: &'static str,
    /// Why.
    pub reason: String,
}

/// The running tasks of one house; dropping it stops them.
#[derive(Debug)]
pub struct BackgroundTasks {
    running: Vec<(&'static str, JoinHandle<()>)>,
    report: mpsc::Sender<FailedTask>,
    fallen: mpsc::Receiver<FailedTask>,
}

impl BackgroundTasks {
    /// No task yet.
    #[must_use]
    pub fn new() -> Self {
        let (report, fallen) = mpsc::channel(REPORTS_MAX);
        Self { running: Vec::new(), report, fallen }
    }

    /// Runs a future under its row.
    #[expect(clippy::disallowed_methods, reason = "this is one of the two places that spawn")]
    pub fn run(
        &mut self,
        name: &'static str,
        on_end: OnExit,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        let report = self.report.clone();
        let watched = async move {
            let Err(reason) = task.await else { return };
            tracing::error!(task.name = name, task.reason = reason, "task ended");
            if on_end == OnExit::StopPod {
                // A full queue has told already that the process ends.
                let _ = report.try_send(FailedTask { name, reason });
            }
        };
        self.running.push((name, tokio::spawn(watched)));
    }

    /// The same on a thread of its own, for what many tasks wait for: the system lets a thread that
    /// wakes up go first, where a task queues behind all those that are waiting for it.
    pub fn run_on_thread(
        &mut self,
        name: &'static str,
        on_end: OnExit,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        let (ended, end) = oneshot::channel();
        let (going, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let result = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
                runtime.block_on(async {
                    tokio::select! {
                        result = task => result,
                        _ = stopped => Ok(()),
                    }
                })
            });
            // Nobody listens any more if it was stopped.
            let _ = ended.send(result);
        });
        self.run(name, on_end, async move {
            // Dropped with this task, which stops the other one.
            let _going = going;
            thread.map_err(|error| format!("its thread cannot be started: {error}"))?;
            end.await.unwrap_or_else(|_| Err("it panicked".to_owned()))
        });
    }

    /// Waits until a task has fallen without which the process must end.
    pub async fn wait_failed(&mut self) -> FailedTask {
        match self.fallen.recv().await {
            Some(fallen) => fallen,
            // We hold a sender ourselves, so the channel is never closed.
            None => std::future::pending().await,
        }
    }

    /// Waits for the named tasks to end by themselves, at most `patience` long, and stops the rest.
    pub async fn join(mut self, patience: Duration) {
        let ending = futures::future::join_all(self.running.iter_mut().map(|(_, task)| task));
        if tokio::time::timeout(patience, ending).await.is_err() {
            for (name, task) in &self.running {
                if !task.is_finished() {
                    tracing::warn!(task.name = *name, "task stopped before its end");
                }
            }
        }
    }

    /// Stops one kind of task now.
    pub fn stop(&mut self, name: &str) {
        for (_, task) in self.running.iter().filter(|(known, _)| *known == name) {
            task.abort();
        }
    }
}

impl Default for BackgroundTasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for BackgroundTasks {
    fn drop(&mut self) {
        for (_, task) in &self.running {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_without_which_nothing_may_be_done_is_reported() {
        let mut tasks = BackgroundTasks::new();
        tasks.run("minor", OnExit::Continue, async { Err("gone".to_owned()) });
        tasks.run("audit writer", OnExit::StopPod, async { Err("disk full".to_owned()) });
        let fallen = tasks.wait_failed().await;
        assert_eq!((fallen.name, fallen.reason.as_str()), ("audit writer", "disk full"));
    }

    #[tokio::test]
    async fn a_task_apart_is_reported_too_even_if_it_panics() {
        let mut tasks = BackgroundTasks::new();
        tasks.run_on_thread("writer", OnExit::StopPod, async { Err("disk full".to_owned()) });
        let fallen = tasks.wait_failed().await;
        assert_eq!((fallen.name, fallen.reason.as_str()), ("writer", "disk full"));
        tasks.run_on_thread("other", OnExit::StopPod, async { panic!("what now") });
        let fallen = tasks.wait_failed().await;
        assert_eq!((fallen.name, fallen.reason.as_str()), ("other", "it panicked"));
    }

    #[tokio::test]
    async fn a_task_apart_ends_with_the_tasks() {
        let (held, dropped) = oneshot::channel::<()>();
        let mut tasks = BackgroundTasks::new();
        tasks.run_on_thread("writer", OnExit::StopPod, async move {
            let _held = held;
            std::future::pending().await
        });
        drop(tasks);
        let gone = tokio::time::timeout(Duration::from_secs(10), dropped).await.expect("it is dropped in time");
        assert!(gone.is_err(), "nothing was sent");
    }
}
