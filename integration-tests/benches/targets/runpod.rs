//! Measures the worker of RunPod against a RunPod of tests: jobs a second, jobs that are lost under faults, the time until the
//! first poll and until the first result of a process, and its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use greenroom_integration_tests::bench::{Threshold, record, scaled};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::process_memory::resident_kib;
use greenroom_integration_tests::runpod_api::{CallKind, FakeRunPod, Reaction};
use greenroom_integration_tests::runpod_jobs::{DrivenWorker, VerbHandler, test_options};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_integration_tests::wait::wait_until;
use serde_json::json;

use super::program;

/// Longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(900);
/// Definitions of the catalogue of a process.
const DEFINITIONS: usize = 700;
/// How long a stalled request stalls.
const STALL: Duration = Duration::from_secs(30);

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        instant_jobs().await?;
        faulty_jobs().await?;
        first_result().await
    })
}

/// Waits for this many results.
async fn results(runpod: &FakeRunPod, count: usize) -> anyhow::Result<()> {
    wait_until("all results", WAIT_MAX, || async { (runpod.results() >= count).then_some(()) }).await
}

fn add_jobs(runpod: &FakeRunPod, count: usize) {
    for number in 0..count {
        runpod.add_job(json!({ "id": format!("j{number}-u1"), "input": { "ret": number } }));
    }
}

/// Jobs without work, one at a time and many at once.
async fn instant_jobs() -> anyhow::Result<()> {
    let jobs = usize::try_from(scaled(10_000))?;
    for (concurrency, threshold) in [(1, Threshold::AtLeast(500.0)), (32, Threshold::Informational)] {
        let runpod = FakeRunPod::start_for_load(|_| Reaction::Default).await?;
        add_jobs(&runpod, jobs);
        let worker =
            DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), test_options(concurrency))?;
        let began_at = Instant::now();
        let measured = async {
            results(&runpod, jobs).await?;
            Ok(began_at.elapsed())
        };
        let (elapsed, _) = worker.run_until(measured).await?;
        let name = format!("{jobs} jobs without work, {concurrency} at once");
        record("runpod", name, jobs as f64 / elapsed.as_secs_f64(), "jobs/s", threshold)?;
    }
    Ok(())
}

/// One of a hundred results meets a 5xx, a reset or a stall of thirty seconds.
async fn faulty_jobs() -> anyhow::Result<()> {
    let jobs = usize::try_from(scaled(100_000))?;
    let requests = AtomicUsize::new(0);
    let runpod = FakeRunPod::start_for_load(move |call| {
        let number = requests.fetch_add(1, Ordering::Relaxed);
        if call.kind != CallKind::Done || number % 100 != 7 {
            return Reaction::Default;
        }
        match (number / 100) % 3 {
            0 => Reaction::Json(502, json!({})),
            1 => Reaction::Reset,
            _ => Reaction::After(STALL, Box::new(Reaction::Reset)),
        }
    })
    .await?;
    add_jobs(&runpod, jobs);
    let mut options = test_options(64);
    options.timing.post_timeout = Duration::from_secs(5);
    let worker = DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), options)?;
    let (_, report) = worker.run_until(results(&runpod, jobs)).await?;
    let lost = jobs.saturating_sub(runpod.results());
    let name = format!("jobs lost of {jobs} with 1 % of 5xx, resets and stalls of 30 s");
    record("runpod", name, lost as f64, "", Threshold::AtMost(0.0))?;
    let name = "  jobs that were executed more than once";
    let repeated = report.executed.saturating_sub(u64::try_from(jobs)?);
    record("runpod", name, repeated as f64, "", Threshold::AtMost(0.0))
}

/// A process with a pod inside: the time until it polls, and until its first result.
async fn first_result() -> anyhow::Result<()> {
    let definitions = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(definitions.path())?;
    definitions_dir.write_many_agents(DEFINITIONS)?;
    let runpod = FakeRunPod::start().await?;
    let mut terminal = CliHarness::open()?;
    for (name, value) in runpod.environment() {
        terminal.set_variable(&name, &value);
    }
    let dir = definitions_dir.dir().to_str().context("a path that is UTF-8")?;
    terminal.set_variable("GREENROOM_DEFINITIONS", dir);
    terminal.set_variable("GREENROOM_METRICS_ADDR", "off");
    let job = json!({ "agent": "generated_000_agent", "inputs": { "text": "x" } });
    runpod.add_job(json!({ "id": "first-u1", "input": job }));
    let began_at = Instant::now();
    let process = terminal.start_program(&program("greenroom")?, &["runpod", "worker"])?;
    wait_until("the first result", WAIT_MAX, || async { runpod.result("first-u1") }).await?;
    let elapsed = began_at.elapsed();
    let polled = runpod.calls_of(CallKind::Take).first().context("a poll")?.at.saturating_duration_since(began_at);
    let resident = resident_kib(&process.id()).context("the memory of the process")? as f64 / 1024.0;
    process.terminate()?;
    process.wait().await?;
    record("runpod", "first poll after the start", polled.as_secs_f64() * 1e3, "ms", Threshold::AtMost(100.0))?;
    let name = format!("first result after the start, with {DEFINITIONS} definitions");
    record("runpod", name, elapsed.as_secs_f64() * 1e3, "ms", Threshold::AtMost(2_000.0))?;
    record("runpod", "memory with a pod inside, after the first result", resident, "MiB", Threshold::AtMost(160.0))
}
