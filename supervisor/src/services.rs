//! Background services: whatever runs beside the actors, such as the writers of the stores, the
//! control socket and the watcher of definitions.
//!
//! Each is registered as a [`Service`] and stopped by its [`Phase`]. A service that fails or panics is
//! restarted, or stops the pod, by its row of the table of restart policies. Beside the linked tasks of
//! actors, this is the only place that spawns.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use greenroom_actors::supervision::{
    ChildKind, ExitKind, OnMaxRestarts, RestartDecision, RestartIntensity, RestartPolicy,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

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

    /// Waits until the service is stopped.
    pub async fn stopped(mut self) {
        // A dropped sender means that the services are dropped, which stops them as well.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }

    /// Waits for this long. Returns false if the service is stopped meanwhile.
    async fn wait(&self, delay: Duration) -> bool {
        let mut stopped = self.0.clone();
        tokio::time::timeout(delay, stopped.wait_for(|stopped| *stopped)).await.is_err()
    }
}

/// The body of a service, called for each start. An error means that it failed.
pub type RunService = Arc<dyn Fn(StopSignal) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// One background service.
pub struct Service {
    /// Its name in the log.
    pub name: &'static str,
    /// When a shutdown stops it.
    pub phase: Phase,
    /// Its row of the table of restart policies.
    pub restart: ChildKind,
    /// Its body; it returns soon after the signal.
    pub run: RunService,
}

impl Service {
    /// A service of the phase [`Phase::Ingress`] that a shutdown may drop at any await point.
    #[must_use]
    pub fn droppable<F>(name: &'static str, restart: ChildKind, work: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let run: RunService = Arc::new(move |stop| Box::pin(stop.run_until_stopped(work())));
        Self { name, phase: Phase::Ingress, restart, run }
    }
}

/// A body that can be started once. Its row of the table should have no restarts.
pub fn run_once<F>(work: F) -> impl Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync + 'static
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let work = Mutex::new(Some(work));
    move || match work.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(work) => work.boxed(),
        None => futures::future::ready(Err("it cannot be started again".to_owned())).boxed(),
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
    pub fn start(&mut self, service: Service) {
        let policy = service.restart.restart_policy();
        self.start_with(service, policy);
    }

    #[expect(clippy::disallowed_methods, reason = "this is one of the two places that spawn")]
    fn start_with(&mut self, service: Service, policy: RestartPolicy) {
        let (name, phase) = (service.name, service.phase);
        let (stop, signal) = watch::channel(false);
        let task = tokio::spawn(supervise(service, policy, StopSignal(signal), self.failed_tx.clone()));
        self.running.push(RunningService { name, phase, task, stop });
    }

    /// Starts a service on a thread of its own, for one that many tasks wait for: the operating system
    /// schedules a woken thread at once, whereas a task queues behind all tasks that wait for it.
    pub fn start_on_thread(&mut self, service: Service) {
        let Service { name, phase, restart, run } = service;
        let run: RunService = Arc::new(move |stop| run_on_thread(name, Arc::clone(&run), stop).boxed());
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

/// Runs a service until it ends by itself or is stopped, and restarts it by its policy.
async fn supervise(service: Service, policy: RestartPolicy, stop: StopSignal, failed_tx: mpsc::Sender<FailedService>) {
    let Service { name, run, .. } = service;
    let mut intensity = RestartIntensity::default();
    while let Err(reason) = run_caught(name, &run, stop.clone()).await {
        tracing::error!(task.name = name, task.reason = reason, "background service failed");
        let delay = match intensity.on_exit(&policy, ExitKind::Crashed, Instant::now()) {
            RestartDecision::RestartAfter(delay) => delay,
            RestartDecision::MaxRestarts(OnMaxRestarts::OpenCircuit { cooldown }) => cooldown,
            RestartDecision::MaxRestarts(
                OnMaxRestarts::Escalate | OnMaxRestarts::EndRun | OnMaxRestarts::GiveUp | OnMaxRestarts::StopPod,
            ) => {
                // If the queue is full, an earlier report has already started the shutdown.
                let _ = failed_tx.try_send(FailedService { name, reason });
                return;
            }
            RestartDecision::NoRestart => return,
        };
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(task.name = name, delay_ms, "background service is restarted");
        if !stop.wait(delay).await {
            return;
        }
    }
}

/// Runs a service once; a panic is an error.
async fn run_caught(name: &'static str, run: &RunService, stop: StopSignal) -> Result<(), String> {
    let running = AssertUnwindSafe(async { run(stop).await });
    running.catch_unwind().await.unwrap_or_else(|_| {
        // The hook of the log has written where; the message may quote an input.
        tracing::debug!(task.name = name, "background service panicked");
        Err(PANICKED.to_owned())
    })
}

/// The reason of a service that panicked.
const PANICKED: &str = "it panicked";

/// Runs a service on a thread; dropping the future ends the thread.
async fn run_on_thread(name: &'static str, run: RunService, stop: StopSignal) -> Result<(), String> {
    let (result_tx, result) = oneshot::channel();
    let (_alive, dropped) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
            runtime.block_on(async {
                tokio::select! {
                    result = run(stop) => result,
                    _ = dropped => Ok(()),
                }
            })
        });
        // The receiver is dropped if the service was stopped.
        let _ = result_tx.send(result);
    });
    thread.map_err(|error| format!("its thread cannot be started: {error}"))?;
    result.await.unwrap_or_else(|_| Err(PANICKED.to_owned()))
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
mod tests;
