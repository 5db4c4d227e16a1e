//! A handler of jobs for tests: the input says what it does, with the verbs of the traces. And a worker with short delays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use greenroom_protocol::Cause;
use greenroom_runpod::worker::{
    Job, JobContext, JobFailure, JobHandler, JobResult, Timing, Worker, WorkerEnvironment, WorkerOptions, WorkerReport,
};
use greenroom_supervisor::clock::WallClock;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

/// Does what the input of a job says: `progress`, `sleep` (seconds), `spin` (seconds of a busy thread), `items` (a stream),
/// `raise`, `panic`, `big` (characters) and `ret`.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerbHandler {
    /// True to return the parts of a stream as its output too.
    pub aggregates: bool,
}

#[async_trait]
impl JobHandler for VerbHandler {
    async fn execute(&self, job: &Job, context: &JobContext) -> JobResult {
        let Ok(input) = &job.input else { return JobResult::Returned(Value::Null) };
        for progress in input.get("progress").and_then(Value::as_array).into_iter().flatten() {
            context.progress(progress).await;
        }
        if let Some(seconds) = input.get("sleep").and_then(Value::as_f64) {
            sleep(Duration::from_secs_f64(seconds)).await;
        }
        if let Some(seconds) = input.get("spin").and_then(Value::as_f64) {
            spin(Duration::from_secs_f64(seconds));
        }
        if let Some(items) = input.get("items").and_then(Value::as_array) {
            return self.stream(items, context).await;
        }
        if let Some(message) = input.get("raise").and_then(Value::as_str) {
            return JobResult::Failed(JobFailure::new("<class 'ValueError'>", message));
        }
        assert!(input.get("panic").is_none(), "the job requests a panic");
        if let Some(characters) = input.get("big").and_then(Value::as_u64) {
            return JobResult::Returned("x".repeat(usize::try_from(characters).unwrap_or_default()).into());
        }
        JobResult::Returned(input.get("ret").cloned().unwrap_or_default())
    }
}

impl VerbHandler {
    async fn stream(&self, items: &[Value], context: &JobContext) -> JobResult {
        for item in items {
            if item == "RAISE" {
                return JobResult::StreamFailed("handler: gen boom".to_owned());
            }
            if context.stream(item).await.is_err() {
                break;
            }
        }
        JobResult::Streamed(self.aggregates.then(|| Value::Array(items.to_vec())))
    }
}

/// Keeps its thread busy.
fn spin(time: Duration) {
    let began_at = std::time::Instant::now();
    while began_at.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Durations for tests: no delay that a test would have to wait for.
#[must_use]
pub fn short_timing() -> Timing {
    Timing {
        result_delay_unit: Duration::from_millis(20),
        stop_poll_delay: Duration::from_millis(20),
        failed_poll_delays: (Duration::from_millis(5), Duration::from_millis(100)),
        parked_poll_delays: (Duration::from_millis(5), Duration::from_millis(20)),
        drain_poll_timeout: Duration::from_millis(300),
        resume_check_interval: Duration::from_millis(50),
        resume_retry_delay: Duration::from_millis(20),
        ..Timing::default()
    }
}

/// Options for tests.
#[must_use]
pub fn test_options(concurrency: usize) -> WorkerOptions {
    WorkerOptions { concurrency, timing: short_timing(), ..WorkerOptions::new(Arc::new(WallClock)) }
}

/// A worker that is driven by its test.
pub struct DrivenWorker {
    drain: watch::Sender<bool>,
    running: BoxFuture<'static, Result<WorkerReport, Cause>>,
}

impl DrivenWorker {
    /// A worker with the environment of a RunPod.
    ///
    /// # Errors
    /// If the environment is that of no worker.
    pub fn new(
        variables: &BTreeMap<String, String>,
        handler: Arc<dyn JobHandler>,
        options: WorkerOptions,
    ) -> anyhow::Result<Self> {
        let environment = WorkerEnvironment::read(|name| variables.get(name).cloned(), "test-worker");
        let environment = environment.map_err(|cause| anyhow::anyhow!("{cause}"))?;
        let environment = environment.ok_or_else(|| anyhow::anyhow!("no environment of a worker"))?;
        let worker = Worker::new(environment, handler, options).map_err(|cause| anyhow::anyhow!("{cause}"))?;
        let (drain, is_draining) = watch::channel(false);
        Ok(Self { drain, running: worker.run(is_draining).boxed() })
    }

    /// Runs the worker until a future has ended, drains it, and returns what both have produced.
    ///
    /// # Errors
    /// That of the future, or that of the worker. A worker that ends before the future is one.
    pub async fn run_until<T>(
        self,
        until: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(T, WorkerReport)> {
        let Self { drain, mut running } = self;
        let value = tokio::select! {
            ended = &mut running => anyhow::bail!("the worker has ended: {ended:?}"),
            value = until => value?,
        };
        drain.send_replace(true);
        let report = running.await.map_err(|cause| anyhow::anyhow!("{cause}"))?;
        Ok((value, report))
    }

    /// Runs the worker until it ends by itself.
    ///
    /// # Errors
    /// That of the worker.
    pub async fn run_to_end(self) -> anyhow::Result<WorkerReport> {
        let Self { drain: _drain, running } = self;
        running.await.map_err(|cause| anyhow::anyhow!("{cause}"))
    }
}
