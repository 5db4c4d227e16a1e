//! Measures the worker of RunPod's Python SDK with jobs without work: its handler returns what the job says, and nothing is
//! governed. It is measured with its default, which is one job at a time, and with as many at once as ours has by default.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use greenroom_integration_tests::bench::{Threshold, missing, record, scaled};
use greenroom_integration_tests::runpod_api::{FakeRunPod, Reaction};
use greenroom_integration_tests::wait::wait_until;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{GROUP, Jobs, WAIT_MAX};
use crate::child_process::ChildProcess;
use crate::peers::is_off;

/// Jobs at once, and the jobs of the measurement: its worker waits for up to a second after a batch.
const LEVELS: [(usize, u64); 2] = [(1, 30), (32, 640)];
/// The job whose result shows that the worker executes jobs.
const FIRST_JOB: &str = "first-u1";

pub(super) fn measure(runtime: &Runtime) -> anyhow::Result<()> {
    let unavailable = if is_off() { Some("GREENROOM_BENCH_COMPARISONS is off".to_owned()) } else { install()? };
    for (concurrency, jobs) in LEVELS {
        let name = format!("worker of the Python SDK, {concurrency} at once: jobs without work");
        match &unavailable {
            Some(reason) => missing(GROUP, name, reason, "jobs/s", Threshold::Informational)?,
            None => {
                let rate = runtime.block_on(jobs_per_second(concurrency, scaled(jobs)))?;
                record(GROUP, name, rate, "jobs/s", Threshold::Informational)?;
            }
        }
    }
    Ok(())
}

/// Installs the SDK; the reason if that is not possible.
fn install() -> anyhow::Result<Option<String>> {
    let output = script(&["0"]).output()?;
    let failed = !output.status.success();
    Ok(failed.then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
}

async fn jobs_per_second(concurrency: usize, count: u64) -> anyhow::Result<f64> {
    let runpod = FakeRunPod::start_for_load(|_| Reaction::Default).await?;
    runpod.add_job(json!({ "id": FIRST_JOB, "input": input(0) }));
    let mut command = script(&[&WAIT_MAX.as_secs().to_string(), &concurrency.to_string()]);
    let _worker = ProcessGroup::start(command.envs(runpod.environment()))?;
    let first = wait_until("the first result", WAIT_MAX, || async { runpod.result(FIRST_JOB) }).await?;
    ensure!(is_right(0, &first), "{first}");
    Jobs { count: usize::try_from(count)?, input, is_right }.per_second(&runpod).await
}

fn script(words: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("comparisons/run"));
    command.arg("runpod").args(words);
    command
}

fn input(number: usize) -> Value {
    json!({ "ret": number })
}

fn is_right(number: usize, result: &Value) -> bool {
    result.get("output") == Some(&json!(number))
}

/// A process with those that it starts: the heartbeat of the SDK is a process that outlives its worker.
struct ProcessGroup(ChildProcess);

impl ProcessGroup {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(ChildProcess::start(command.process_group(0))?))
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // They may have ended already. The shell of some systems takes no `--`.
        let _ = Command::new("sh").args(["-c", "kill -KILL \"-$0\"", &self.0.id()]).status();
    }
}
