//! Measures the worker without a pod behind it: its handler returns what the job says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_integration_tests::bench::{Threshold, record, scaled};
use greenroom_integration_tests::runpod_api::{CallKind, FakeRunPod, Reaction};
use greenroom_integration_tests::runpod_jobs::{DrivenWorker, VerbHandler, test_options};
use greenroom_runpod::worker::WorkerOptions;
use greenroom_supervisor::clock::WallClock;
use serde_json::json;

use super::{GROUP, Jobs};

/// How long a stalled request stalls.
const STALL: Duration = Duration::from_secs(30);
/// Jobs at once under faults: each that stalls occupies a worker for as long.
const FAULTY_CONCURRENCY: usize = 64;

/// Jobs that return their number.
fn jobs(count: u64) -> anyhow::Result<Jobs> {
    Ok(Jobs {
        count: usize::try_from(count)?,
        input: |number| json!({ "ret": number }),
        is_right: |number, result| *result == json!({ "output": number }),
    })
}

/// Jobs without work, one at a time and many at once.
pub(super) async fn instant_jobs() -> anyhow::Result<()> {
    let jobs = jobs(scaled(10_000))?;
    for (concurrency, threshold) in [(1, Threshold::AtLeast(500.0)), (32, Threshold::Informational)] {
        let runpod = FakeRunPod::start_for_load(|_| Reaction::Default).await?;
        let worker =
            DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), test_options(concurrency))?;
        let (per_second, _) = worker.run_until(jobs.per_second(&runpod)).await?;
        let name = format!("{} jobs without work and without a pod, {concurrency} at once", jobs.count);
        record(GROUP, name, per_second, "jobs/s", threshold)?;
    }
    Ok(())
}

/// One of a hundred results meets a 5xx, a reset or a stall of thirty seconds; one of a hundred polls a 5xx or a reset. The
/// durations of the worker are those of the product.
pub(super) async fn faulty_jobs() -> anyhow::Result<()> {
    let jobs = jobs(scaled(100_000))?;
    let (polls, results) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let runpod = FakeRunPod::start_for_load(move |call| match call.kind {
        CallKind::Done => react(results.fetch_add(1, Ordering::Relaxed), &[FAILURE, RESET, STALLED]),
        // It has taken no job yet. Polls are one after the other: stalls would only make the measurement long.
        CallKind::Take => react(polls.fetch_add(1, Ordering::Relaxed), &[FAILURE, RESET]),
        CallKind::Stream | CallKind::Ping | CallKind::Stop | CallKind::Other => Reaction::Default,
    })
    .await?;
    jobs.add(&runpod);
    let options = WorkerOptions { concurrency: FAULTY_CONCURRENCY, ..WorkerOptions::new(Arc::new(WallClock)) };
    let worker = DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), options)?;
    let ((), report) = worker.run_until(jobs.wait(&runpod, 0)).await?;
    let name = format!("jobs lost or wrong of {} with 1 % of 5xx, resets and stalls of 30 s", jobs.count);
    record(GROUP, name, jobs.wrong(&runpod) as f64, "", Threshold::AtMost(0.0))?;
    let repeated = report.executed.saturating_sub(u64::try_from(jobs.count)?);
    let name = "  jobs that were executed more than once";
    record(GROUP, name, repeated as f64, "", Threshold::AtMost(0.0))
}

/// Makes the reaction to a request with a fault.
type Fault = fn() -> Reaction;

const FAILURE: Fault = || Reaction::Json(502, json!({}));
const RESET: Fault = || Reaction::Reset;
const STALLED: Fault = || Reaction::After(STALL, Box::new(Reaction::Reset));

/// One of a hundred requests has one of these faults, in turn.
fn react(number: usize, faults: &[Fault]) -> Reaction {
    match faults.get((number / 100) % faults.len().max(1)) {
        Some(make) if number % 100 == 7 => make(),
        Some(_) | None => Reaction::Default,
    }
}
