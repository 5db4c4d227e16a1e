//! Measures `greenroom runpod worker` as a process, with a pod inside or thin over NATS: the time until the first poll and
//! until the first result, memory, and governed jobs a second. A job executes an agent that returns its input.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::{Context, ensure};
use greenroom_integration_tests::bench::{Threshold, record, scaled};
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::process_memory::resident_kib;
use greenroom_integration_tests::runpod_api::{CallKind, FakeRunPod, Reaction};
use greenroom_integration_tests::wait::wait_until;
use serde_json::{Value, json};

use super::{GROUP, Jobs, WAIT_MAX};
use crate::caller::AGENT;
use crate::child_process::{ChildProcess, product};
use crate::pod_folder::PodFolder;

/// Definitions of the catalogue.
const DEFINITIONS: usize = 700;
/// The job whose result shows that the worker executes jobs.
const FIRST_JOB: &str = "first-u1";
/// Jobs at once, and the least jobs a second.
const CONCURRENCY: [(usize, Threshold); 2] = [(1, Threshold::Informational), (32, Threshold::AtLeast(500.0))];

/// A worker with a pod inside.
pub(super) async fn with_a_pod_inside() -> anyhow::Result<()> {
    let folder = PodFolder::new(None)?;
    folder.definitions().write_many_agents(DEFINITIONS)?;
    for (concurrency, threshold) in CONCURRENCY {
        let worker = RunningWorker::start(&folder, &format!("inside-{concurrency}"), concurrency, &[]).await?;
        let name = format!("worker with a pod inside and {DEFINITIONS} definitions, {concurrency} at once");
        worker.measure(&name, 160.0, threshold).await?;
    }
    Ok(())
}

/// A worker that sends its jobs to a pod over NATS.
pub(super) async fn thin() -> anyhow::Result<()> {
    let server = NatsServer::start().await?;
    let folder = PodFolder::over_nats(None, &server.url())?;
    folder.definitions().write_many_agents(DEFINITIONS)?;
    let _pod = folder.start(0).await?;
    let worker = RunningWorker::start(&folder, "thin", 32, &["--thin"]).await?;
    worker.measure("thin worker over NATS, 32 at once", 40.0, Threshold::Informational).await
}

/// A worker that has a result.
struct RunningWorker {
    process: ChildProcess,
    runpod: FakeRunPod,
    /// Milliseconds from the start to the first poll.
    poll_ms: f64,
    /// Milliseconds from the start to the first result.
    result_ms: f64,
}

impl RunningWorker {
    /// Starts a worker, in a data directory of its own, with a job that waits for it.
    async fn start(folder: &PodFolder, name: &str, concurrency: usize, options: &[&str]) -> anyhow::Result<Self> {
        let first_poll = Arc::new(OnceLock::new());
        let polled = Arc::clone(&first_poll);
        let runpod = FakeRunPod::start_for_load(move |call| {
            if call.kind == CallKind::Take {
                polled.get_or_init(|| call.at);
            }
            Reaction::Default
        })
        .await?;
        runpod.add_job(json!({ "id": FIRST_JOB, "input": input(0) }));
        let mut command = product(&["runpod", "worker", "--concurrency", &concurrency.to_string()])?;
        folder.configure_in(name, &mut command);
        command.args(options).envs(runpod.environment());
        let started_at = Instant::now();
        let process = ChildProcess::start(&mut command)?;
        let result = wait_until("the first result", WAIT_MAX, || async { runpod.result(FIRST_JOB) }).await?;
        let result_ms = started_at.elapsed().as_secs_f64() * 1e3;
        ensure!(is_right(0, &result), "{result}");
        let polled_at = *first_poll.get().context("a poll")?;
        let poll_ms = polled_at.saturating_duration_since(started_at).as_secs_f64() * 1e3;
        Ok(Self { process, runpod, poll_ms, result_ms })
    }

    /// Records what was measured at the start, and measures a load.
    async fn measure(&self, name: &str, memory_mib_max: f64, per_second: Threshold) -> anyhow::Result<()> {
        let jobs = Jobs { count: usize::try_from(scaled(5_000))?, input, is_right };
        let memory = self.memory_mib()?;
        let rate = jobs.per_second(&self.runpod).await?;
        record(GROUP, format!("{name}: first poll after the start"), self.poll_ms, "ms", Threshold::AtMost(100.0))?;
        let result_max = Threshold::AtMost(2_000.0);
        record(GROUP, format!("{name}: first result after the start"), self.result_ms, "ms", result_max)?;
        let memory_max = Threshold::AtMost(memory_mib_max);
        record(GROUP, format!("{name}: memory after the first result"), memory, "MiB", memory_max)?;
        let after = format!("{name}: memory after {} jobs", jobs.count);
        record(GROUP, after, self.memory_mib()?, "MiB", Threshold::Informational)?;
        record(GROUP, format!("{name}: governed jobs without work"), rate, "jobs/s", per_second)
    }

    fn memory_mib(&self) -> anyhow::Result<f64> {
        let resident = resident_kib(&self.process.id()).context("the worker has ended")?;
        Ok(resident as f64 / 1_024.0)
    }
}

fn input(number: usize) -> Value {
    json!({ "agent": AGENT, "inputs": { "text": number.to_string() } })
}

fn is_right(number: usize, result: &Value) -> bool {
    let text = result.pointer("/output/outputs/text");
    text.and_then(Value::as_str).is_some_and(|text| text == number.to_string())
}
