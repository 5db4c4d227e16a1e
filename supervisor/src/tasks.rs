//! What has to run beside the actors: the writers of the stores, the exporter, the watcher, the
//! control socket. Beside the linked tasks of actors, this is the only place that spawns.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Reports that wait to be read; one for each task is enough.
const REPORTS_MAX: usize = 64;

/// What the end of a task means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnEnd {
    /// Nothing can be recorded any more, so nothing may be done: the process ends.
    StopPod,
    /// The platform goes on without it, and says so.
    GoOn,
}

/// A task that ended although nobody stopped it.
#[derive(Debug)]
pub struct Fallen {
    /// Which.
    pub name: &'static str,
    /// Why.
    pub reason: String,
}

/// The running tasks of one house; dropping it stops them.
#[derive(Debug)]
pub struct Tasks {
    running: Vec<(&'static str, JoinHandle<()>)>,
    report: mpsc::Sender<Fallen>,
    fallen: mpsc::Receiver<Fallen>,
}

impl Tasks {
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
        on_end: OnEnd,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        let report = self.report.clone();
        let watched = async move {
            let Err(reason) = task.await else { return };
            tracing::error!(task.name = name, task.reason = reason, "task ended");
            if on_end == OnEnd::StopPod {
                // A full queue has told already that the process ends.
                let _ = report.try_send(Fallen { name, reason });
            }
        };
        self.running.push((name, tokio::spawn(watched)));
    }

    /// Waits until a task has fallen without which the process must end.
    pub async fn fallen(&mut self) -> Fallen {
        match self.fallen.recv().await {
            Some(fallen) => fallen,
            // We hold a sender ourselves, so the channel is never closed.
            None => std::future::pending().await,
        }
    }

    /// Waits for the named tasks to end by themselves, at most `patience` long, and stops the rest.
    pub async fn finish(mut self, patience: Duration) {
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

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Tasks {
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
        let mut tasks = Tasks::new();
        tasks.run("minor", OnEnd::GoOn, async { Err("gone".to_owned()) });
        tasks.run("audit writer", OnEnd::StopPod, async { Err("disk full".to_owned()) });
        let fallen = tasks.fallen().await;
        assert_eq!((fallen.name, fallen.reason.as_str()), ("audit writer", "disk full"));
    }
}
