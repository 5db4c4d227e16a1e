//! Pods that share PostgreSQL, Redis and S3, under faults.
//!
//! `chaos [SEED] [SECONDS]` starts a thousand runs on three pods, kills, freezes and cuts these, restarts and flushes
//! their servers, and checks what is promised. It continues with the next seed until the seconds are over. With `--nats`
//! the pods receive all requests over NATS, which is cut, restarted and filled too, and pods are drained. `chaos demo`
//! runs 200 workflows over NATS while one pod is killed, on the servers that a script has started. `chaos pod` is one of
//! the pods.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_integration_tests::cluster::checker::Bounds;
use greenroom_integration_tests::cluster::checker::report::Report;
use greenroom_integration_tests::cluster::schedule::Schedule;
use greenroom_integration_tests::cluster::servers::Servers;
use greenroom_integration_tests::cluster::{experiment, shifted_pod};
use greenroom_protocol::IdGenerator as _;
use greenroom_supervisor::clock::TimeOrdered;
use greenroom_supervisor::lifecycle::run_command;

const USAGE: &str = "usage: chaos [--nats] [SEED] [SECONDS] | demo | pod";
/// The option for pods that receive their requests over NATS.
const NATS_OPTION: &str = "--nats";
/// Runs of a seed, and of the demonstration.
const RUNS: usize = 1_000;
const RUNS_DEMO: usize = 200;
/// From a fault to the next entry of a tree of the pod, for 99 of 100 trees.
const BOUNDS: Bounds = Bounds { resumption_max: Duration::from_secs(5) };
/// The demonstration also runs on a slow machine, in a build that is not optimised.
const BOUNDS_DEMO: Bounds = Bounds { resumption_max: Duration::from_secs(60) };
/// A seed that is not an argument is below this, so that it is easy to type.
const SEED_BOUND: u128 = 1_000_000;

fn main() -> anyhow::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match words.as_slice() {
        ["pod"] => {
            let code = runtime.block_on(run_command(&runtime, shifted_pod::up));
            // What is left on blocking threads has no bound of ours; the process does not wait for it.
            runtime.shutdown_background();
            Ok(ExitCode::from(code?))
        }
        ["demo"] => runtime.block_on(demo()),
        _ => runtime.block_on(chaos(&words)),
    }
}

/// Writes a line to standard output, also if no one reads it.
fn print(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn chaos(words: &[&str]) -> anyhow::Result<ExitCode> {
    let (uses_nats, words) = match words {
        [NATS_OPTION, words @ ..] => (true, words),
        _ => (false, words),
    };
    let mut numbers = words.iter().map(|word| word.parse::<u64>().context(USAGE));
    let first = numbers.next().transpose()?.map_or_else(any_seed, Ok)?;
    let seconds = numbers.next().transpose()?.unwrap_or_default();
    ensure!(numbers.next().is_none(), USAGE);
    let started_at = Instant::now();
    for seed in first.. {
        let option = if uses_nats { "--nats " } else { "" };
        print(format_args!("seed {seed}: `scripts/chaos {option}{seed}` repeats these faults"));
        let (schedule, servers) = match uses_nats {
            true => (Schedule::long_over_nats(seed, RUNS), Servers::start_with_nats().await?),
            false => (Schedule::long(seed, RUNS), Servers::start().await?),
        };
        let notes = |note: &str| print(note);
        let report = Box::pin(experiment::run(&schedule, servers, BOUNDS, &notes)).await;
        let report = report.with_context(|| format!("seed {seed}"))?;
        print(&report);
        ensure!(report.violations.is_empty(), "seed {seed}: {} violations", report.violations.len());
        if started_at.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn any_seed() -> anyhow::Result<u64> {
    Ok(u64::try_from(TimeOrdered.next_id() % SEED_BOUND)?)
}

async fn demo() -> anyhow::Result<ExitCode> {
    let schedule = Schedule::demo(any_seed()?, RUNS_DEMO);
    print(format_args!("{RUNS_DEMO} workflows over NATS on three pods; one of them is killed while they run"));
    let notes = |note: &str| print(note);
    let report = Box::pin(experiment::run(&schedule, Servers::from_environment()?, BOUNDS_DEMO, &notes)).await?;
    print(&report);
    Ok(if is_expected(&report) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// True if every workflow has succeeded, the pod had some of them, no recorded call was repeated, and the audit verifies.
const fn is_expected(report: &Report) -> bool {
    report.successes == RUNS_DEMO && report.resumed > 0 && report.repeated_recorded == 0 && report.audit.is_valid
}
