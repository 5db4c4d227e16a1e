//! The worker of RunPod against a RunPod of tests: its requests are those of the Python SDK, and it is better where the SDK loses
//! jobs. Deployment and scaling against the same server. What is in `docker/` and in the releases agrees with the code.

mod cancellations;
mod commands;
mod comparison;
mod container_files;
mod containers;
mod deployment;
mod ends;
mod environments;
mod executions;
mod faults;
mod polls;
mod releases;
mod scaling;
mod scaling_over_nats;
mod traces;
mod worker_over_nats;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use greenroom_integration_tests::runpod_api::FakeRunPod;
use greenroom_integration_tests::runpod_jobs::{DrivenWorker, VerbHandler, test_options};
use greenroom_integration_tests::wait::wait_until;
use serde_json::Value;

/// Longer than any wait of these tests.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A worker with the handler of tests and this many jobs at once.
fn worker(runpod: &FakeRunPod, concurrency: usize) -> Result<DrivenWorker> {
    DrivenWorker::new(&runpod.environment(), Arc::new(VerbHandler::default()), test_options(concurrency))
}

/// Waits for the result of a job.
async fn result_of(runpod: &FakeRunPod, job: &str) -> Result<Value> {
    wait_until(&format!("a result of {job}"), WAIT_MAX, || async { runpod.result(job) }).await
}

/// Waits for this many results.
async fn results(runpod: &FakeRunPod, count: usize) -> Result<()> {
    let has_all = || async { (runpod.results() >= count).then_some(()) };
    wait_until(&format!("{count} results"), WAIT_MAX, has_all).await
}
