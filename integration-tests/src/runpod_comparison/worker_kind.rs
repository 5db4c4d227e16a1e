//! Whom a script is played to: our worker in this process, with the durations of the product, or that of the SDK as a process.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use greenroom_runpod::worker::{Job, JobContext, JobHandler, JobResult, WorkerOptions};
use greenroom_supervisor::clock::WallClock;
use serde_json::Value;

use crate::runpod_api::FakeRunPod;
use crate::runpod_jobs::{DrivenWorker, VerbHandler};
use crate::wait::wait_until;

/// The program of the SDK's worker.
const PROGRAM: &str = "comparisons/runpod/worker.py";
/// Longest time until a worker has ended after its signal: its polls are open for less.
const END_WAIT_MAX: Duration = Duration::from_secs(120);

/// A worker of one of both kinds.
#[derive(Debug, Clone)]
pub enum WorkerKind {
    /// Ours.
    Own,
    /// That of the SDK, with the Python that has it.
    Sdk(PathBuf),
}

/// How a worker works.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) concurrency: usize,
    /// True for results that are streams.
    pub(super) streams: bool,
}

/// One job at a time, with results that are values.
pub(super) const ONE_AT_A_TIME: Settings = Settings { concurrency: 1, streams: false };

impl WorkerKind {
    /// Runs a worker until `until` has ended, sends it the signal to end, and waits until it has.
    pub(super) async fn play<T>(
        &self,
        runpod: &FakeRunPod,
        settings: Settings,
        until: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        match self {
            Self::Own => {
                let options =
                    WorkerOptions { concurrency: settings.concurrency, ..WorkerOptions::new(Arc::new(WallClock)) };
                let handler = Arc::new(CountingHandler::default());
                let worker = DrivenWorker::new(&runpod.environment(), handler, options)?;
                Ok(worker.run_until(until).await?.0)
            }
            Self::Sdk(python) => {
                let worker = SdkProcess::start(python, runpod, settings)?;
                let value = until.await?;
                worker.end().await?;
                Ok(value)
            }
        }
    }
}

/// Counts the executions of each job, which the verb `count` returns; the other verbs are those of [`VerbHandler`].
#[derive(Default)]
struct CountingHandler {
    executions: Mutex<BTreeMap<String, u64>>,
    verbs: VerbHandler,
}

#[async_trait]
impl JobHandler for CountingHandler {
    async fn execute(&self, job: &Job, context: &JobContext) -> JobResult {
        let count = {
            let mut executions = self.executions.lock().unwrap_or_else(PoisonError::into_inner);
            let count = executions.entry(job.id.clone()).or_default();
            *count += 1;
            *count
        };
        match &job.input {
            Ok(input) if input.get("count").is_some() => JobResult::Returned(Value::from(count)),
            Ok(_) | Err(_) => self.verbs.execute(job, context).await,
        }
    }
}

/// The worker of the SDK with the process of its heartbeat, which would outlive it. Both end when this is dropped.
struct SdkProcess(Child);

impl SdkProcess {
    fn start(python: &Path, runpod: &FakeRunPod, settings: Settings) -> anyhow::Result<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(PROGRAM);
        let child = Command::new(python)
            .arg(&program)
            .envs(runpod.environment())
            .env("WORKER_CONCURRENCY", settings.concurrency.to_string())
            .env("WORKER_STREAMS", if settings.streams { "1" } else { "" })
            // They need more memory than a small machine has, and the internet.
            .env("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true")
            .env("RUNPOD_LOG_LEVEL", "ERROR")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("{} {}", python.display(), program.display()))?;
        Ok(Self(child))
    }

    async fn end(mut self) -> anyhow::Result<()> {
        self.signal("TERM");
        let mut ended = false;
        let child = &mut self.0;
        let exited = || {
            ended = ended || !matches!(child.try_wait(), Ok(None));
            std::future::ready(ended.then_some(()))
        };
        wait_until("the worker of the SDK ends", END_WAIT_MAX, exited).await
    }

    /// Sends a signal to the worker, or to both processes if it is the last one.
    fn signal(&self, name: &str) {
        let id = self.0.id();
        let target = if name == "KILL" { format!("-{id}") } else { id.to_string() };
        // They may have ended already.
        let _ =
            Command::new("sh").args(["-c", "kill -s \"$0\" -- \"$1\"", name, &target]).stderr(Stdio::null()).status();
    }
}

impl Drop for SdkProcess {
    fn drop(&mut self) {
        self.signal("KILL");
        let _ = self.0.wait();
    }
}
