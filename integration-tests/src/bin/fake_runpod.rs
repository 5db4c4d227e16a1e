//! The RunPod of the tests as a process, for workers and clients in other languages.
//!
//! `fake_runpod COMMAND…` starts a command with the environment of a worker, and ends with it. `fake_runpod --jobs N COMMAND…`
//! adds N jobs, prints the jobs a second when all have results, and ends the command. `RUNPOD_ENDPOINTS_URL` has the address
//! for clients.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_integration_tests::runpod_api::{FakeRunPod, Reaction};
use greenroom_integration_tests::wait::wait_until;
use serde_json::json;

const USAGE: &str = "usage: fake_runpod [--jobs NUMBER] COMMAND…";
/// Longest time of all jobs.
const JOBS_TIME_MAX: Duration = Duration::from_secs(3_600);

fn main() -> anyhow::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (jobs, command) = match words.as_slice() {
        ["--jobs", number, command @ ..] => (number.parse().context(USAGE)?, command),
        command => (0, command),
    };
    ensure!(!command.is_empty(), USAGE);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(jobs, command))
}

async fn run(jobs: usize, command: &[&str]) -> anyhow::Result<ExitCode> {
    let runpod = FakeRunPod::start_for_load(|_| Reaction::Default).await?;
    let (program, arguments) = command.split_first().context(USAGE)?;
    for number in 0..jobs {
        runpod.add_job(json!({ "id": format!("j{number}-u1"), "input": { "ret": number } }));
    }
    let mut child = Command::new(program)
        .args(arguments)
        .envs(runpod.environment())
        .env("RUNPOD_ENDPOINTS_URL", runpod.endpoints_url())
        .spawn()
        .with_context(|| (*program).to_owned())?;
    if jobs == 0 {
        let status = tokio::task::spawn_blocking(move || child.wait()).await??;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let began_at = Instant::now();
    let has_all = || async { (runpod.results() >= jobs).then_some(()) };
    let ended = wait_until("the results of all jobs", JOBS_TIME_MAX, has_all).await;
    let elapsed = began_at.elapsed();
    child.kill()?;
    child.wait()?;
    ended?;
    println!("{:.1} jobs/s, the start of the worker included", jobs as f64 / elapsed.as_secs_f64());
    Ok(ExitCode::SUCCESS)
}
