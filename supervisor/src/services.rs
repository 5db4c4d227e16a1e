//! Background services: whatever runs beside the actors, such as the writers of the stores, the
//! control socket and the watcher of definitions.
//!
//! Each is registered as a [`Service`] and stopped by its [`Phase`]. Beside the linked tasks of actors,
//! this is the only place that spawns.

use std::future::Future;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Unread reports of failed services; a pod has fewer services than this.
const REPORTS_MAX: usize = 64;

/// When a shutdown stops a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Once no request is in flight, before the actors: ingresses and periodic work.
    Ingress,
    /// After the actors: the writers, which end by themselves once the stores are closed.
    Stores,
}

/// What happens after a service has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// It is not restarted, and the pod keeps running without it. The failure is logged.
    Never,
    /// It is restarted with the whole pod only: the pod cannot work without it and shuts down.
    WithPod,
}

/// Tells a service to stop.
#[derive(Debug, Clone)]
pub struct StopSignal(watch::Receiver<bool>);

impl StopSignal {
    /// Runs `work` until it ends or the service is stopped, which drops it.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn run_until_stopped(
        mut self,
        work: impl Future<Output = Result<(), String>> + Send,
    ) -> Result<(), String> {
        tokio::select! {
            result = work => result,
            // A dropped sender means that the services are dropped, which stops them as well.
            _ = self.0.wait_for(|stopped| *stopped) => Ok(()),
        }
    }
}

/// The body of a service. An error means that it failed.
pub type RunService = Box<dyn FnOnce(StopSignal) -> BoxFuture<'static, Result<(), String>> + Send>;

/// One background service.
pub struct Service {
    /// Its name in the log.
    pub name: &'static str,
    /// When a shutdown stops it.
    pub phase: Phase,
    /// What its failure means.
    pub restart: Restart,
    /// Its body; it returns soon after the signal.
    pub run: RunService,
}

impl Service {
    /// A service that a shutdown may drop at any await point.
    #[must_use]
    pub fn droppable(name: &'static str, work: impl Future<Output = Result<(), String>> + Send + 'static) -> Self {
        let run: RunService = Box::new(move |stop| Box::pin(stop.run_until_stopped(work)));
        Self { name, phase: Phase::Ingress, restart: Restart::Never, run }
    }
}

/// A service that failed.
#[derive(Debug)]
pub struct FailedService {
    /// Its name.
    pub name: &'static str,
    /// Its error.
    pub reason: String,
}

#[derive(Debug)]
struct RunningService {
    name: &'static str,
    phase: Phase,
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

/// The running services of one pod; dropping them stops them.
#[derive(Debug)]
pub struct Services {
    running: Vec<RunningService>,
    failed_tx: mpsc::Sender<FailedService>,
    failed: mpsc::Receiver<FailedService>,
}

impl Services {
    /// No service yet.
    #[must_use]
    pub fn new() -> Self {
        let (failed_tx, failed) = mpsc::channel(REPORTS_MAX);
        Self { running: Vec::new(), failed_tx, failed }
    }

    /// Starts a service as a task.
    #[expect(clippy::disallowed_methods, reason = "this is one of the two places that spawn")]
    pub fn start(&mut self, service: Service) {
        let Service { name, phase, restart, run } = service;
        let (stop, signal) = watch::channel(false);
        let failed_tx = self.failed_tx.clone();
        let task = tokio::spawn(async move {
            let Err(reason) = run(StopSignal(signal)).await else { return };
            tracing::error!(task.name = name, task.reason = reason, "background service failed");
            if restart == Restart::WithPod {
                // If the queue is full, an earlier report has already started the shutdown.
                let _ = failed_tx.try_send(FailedService { name, reason });
            }
        });
        self.running.push(RunningService { name, phase, task, stop });
    }

    /// Starts a service on a thread of its own, for one that many tasks wait for: the operating system
    /// schedules a woken thread at once, whereas a task queues behind all tasks that wait for it.
    pub fn start_on_thread(&mut self, service: Service) {
        let Service { name, phase, restart, run } = service;
        let (result_tx, result) = oneshot::channel();
        let (alive, dropped) = oneshot::channel::<()>();
        let (start, started) = oneshot::channel::<StopSignal>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let result = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
                runtime.block_on(async {
                    let Ok(stop) = started.await else { return Ok(()) };
                    tokio::select! {
                        result = run(stop) => result,
                        _ = dropped => Ok(()),
                    }
                })
            });
            // The receiver is dropped if the service was stopped.
            let _ = result_tx.send(result);
        });
        let run: RunService = Box::new(move |stop| {
            Box::pin(async move {
                // Dropped with this task, which ends the thread.
                let _alive = alive;
                thread.map_err(|error| format!("its thread cannot be started: {error}"))?;
                let _ = start.send(stop);
                result.await.unwrap_or_else(|_| Err("it panicked".to_owned()))
            })
        });
        self.start(Service { name, phase, restart, run });
    }

    /// Waits until a service has failed that the pod cannot work without.
    pub async fn wait_failed(&mut self) -> FailedService {
        match self.failed.recv().await {
            Some(failed) => failed,
            // `self` holds a sender, so the channel is never closed.
            None => std::future::pending().await,
        }
    }

    /// Stops the services of one phase and waits until they have ended, at most `timeout`; what still
    /// runs then is aborted.
    pub async fn stop(&mut self, phase: Phase, timeout: Duration) {
        let stopping = self.running.extract_if(.., |service| service.phase == phase);
        let mut stopping: Vec<RunningService> = stopping.collect();
        for service in &stopping {
            // A service that has ended has dropped its receiver.
            let _ = service.stop.send(true);
        }
        let ended = futures::future::join_all(stopping.iter_mut().map(|service| &mut service.task));
        let timed_out = tokio::time::timeout(timeout, ended).await.is_err();
        for service in stopping.iter().filter(|service| timed_out && !service.task.is_finished()) {
            service.task.abort();
            tracing::warn!(task.name = service.name, "background service aborted before its end");
        }
    }
}

impl Default for Services {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for service in &self.running {
            service.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(run: impl Future<Output = Result<(), String>> + Send + 'static) -> Service {
        Service {
            name: "writer",
            phase: Phase::Stores,
            restart: Restart::WithPod,
            run: Box::new(move |_| Box::pin(run)),
        }
    }

    #[tokio::test]
    async fn only_a_failed_service_that_the_pod_needs_is_reported() {
        let mut services = Services::new();
        services.start(Service::droppable("minor", async { Err("not needed".to_owned()) }));
        services.start(writer(async { Err("disk full".to_owned()) }));
        let failed = services.wait_failed().await;
        assert_eq!((failed.name, failed.reason.as_str()), ("writer", "disk full"));
    }

    #[tokio::test]
    async fn a_failure_and_a_panic_on_a_thread_are_reported() {
        let mut services = Services::new();
        services.start_on_thread(writer(async { Err("disk full".to_owned()) }));
        assert_eq!(services.wait_failed().await.reason, "disk full");
        services.start_on_thread(writer(async { panic!("for the test") }));
        assert_eq!(services.wait_failed().await.reason, "it panicked");
    }

    #[tokio::test]
    async fn a_service_on_a_thread_ends_when_the_services_are_dropped() {
        let (guard, dropped) = oneshot::channel::<()>();
        let mut services = Services::new();
        services.start_on_thread(writer(async move {
            let _guard = guard;
            std::future::pending().await
        }));
        tokio::task::yield_now().await;
        drop(services);
        let outcome = tokio::time::timeout(Duration::from_secs(10), dropped).await.expect("it is dropped in time");
        assert!(outcome.is_err(), "nothing was sent");
    }

    #[tokio::test]
    async fn a_phase_stops_its_own_services_only() {
        let mut services = Services::new();
        let (finish, finished) = oneshot::channel::<()>();
        services.start(Service::droppable("endless", std::future::pending()));
        services.start(writer(async move { finished.await.map_err(|error| error.to_string()) }));
        services.stop(Phase::Ingress, Duration::from_secs(10)).await;
        assert_eq!(services.running.iter().map(|service| service.name).collect::<Vec<_>>(), ["writer"]);
        finish.send(()).unwrap();
        services.stop(Phase::Stores, Duration::from_secs(10)).await;
        assert!(services.running.is_empty());
    }
}
