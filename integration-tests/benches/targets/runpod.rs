//! Measures the worker of RunPod against a RunPod of tests: jobs a second, beside the worker of RunPod's SDK; jobs that are
//! lost under faults; the time until the first poll and until the first result of a process, and its memory.
//!
//! Each part is a process of its own, which has the RunPod of tests. The parts `worker`, `thin` and `sdk` start the workers as
//! other processes; `library` and `faults` have the worker in their own process, without a pod behind it.

mod library;
mod sdk;
mod worker;

use std::time::{Duration, Instant};

use anyhow::ensure;
use greenroom_integration_tests::runpod_api::FakeRunPod;
use greenroom_integration_tests::wait::wait_until;
use serde_json::{Value, json};

use crate::nats::all_threads;

/// The name of the group.
const GROUP: &str = "runpod";
/// The parts in their order.
const PARTS: [&str; 5] = ["library", "faults", "worker", "thin", "sdk"];
/// Longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(900);

pub(crate) fn main(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        [] => PARTS.into_iter().try_for_each(|part| super::run_separately(&[GROUP, part])),
        ["library"] => all_threads()?.block_on(library::instant_jobs()),
        ["faults"] => all_threads()?.block_on(library::faulty_jobs()),
        ["worker"] => all_threads()?.block_on(worker::with_a_pod_inside()),
        ["thin"] => all_threads()?.block_on(worker::thin()),
        ["sdk"] => sdk::measure(&all_threads()?),
        other => anyhow::bail!("no part is named {}", other.join(" ")),
    }
}

/// Jobs without work, and the results that they must have.
struct Jobs {
    count: usize,
    /// The input of the job with a number.
    input: fn(usize) -> Value,
    /// True for the result of the job with a number.
    is_right: fn(usize, &Value) -> bool,
}

impl Jobs {
    fn add(&self, runpod: &FakeRunPod) {
        for number in 0..self.count {
            runpod.add_job(json!({ "id": id(number), "input": (self.input)(number) }));
        }
    }

    /// Waits until every job has a result.
    async fn wait(&self, runpod: &FakeRunPod, results_before: usize) -> anyhow::Result<()> {
        let count = results_before + self.count;
        wait_until("all results", WAIT_MAX, || async { (runpod.results() >= count).then_some(()) }).await
    }

    /// The jobs without their right result.
    fn wrong(&self, runpod: &FakeRunPod) -> usize {
        let is_wrong = |number: &usize| {
            let result = runpod.result(&id(*number));
            !result.is_some_and(|result| (self.is_right)(*number, &result))
        };
        (0..self.count).filter(is_wrong).count()
    }

    /// Adds the jobs, waits for their results, which must be right, and returns the jobs a second.
    async fn per_second(&self, runpod: &FakeRunPod) -> anyhow::Result<f64> {
        let (before, started_at) = (runpod.results(), Instant::now());
        self.add(runpod);
        self.wait(runpod, before).await?;
        let elapsed = started_at.elapsed();
        let wrong = self.wrong(runpod);
        ensure!(wrong == 0, "{wrong} of {} jobs have a wrong result", self.count);
        Ok(self.count as f64 / elapsed.as_secs_f64())
    }
}

fn id(number: usize) -> String {
    format!("j{number}-u1")
}
