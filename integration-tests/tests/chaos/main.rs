//! Three pods on one PostgreSQL, Redis and S3 server: one is killed, one frozen, one cut from the database; PostgreSQL is
//! restarted, Redis flushed, a clock put forward. What is promised holds. `scripts/chaos` is the long form.
//!
//! `scripts/test --test chaos` runs it.

use std::time::Duration;

use anyhow::{Context, Result};
use greenroom_integration_tests::cluster::checker::Bounds;
use greenroom_integration_tests::cluster::experiment;
use greenroom_integration_tests::cluster::schedule::Schedule;
use greenroom_integration_tests::cluster::servers::Servers;

/// One schedule, so that a failure can be repeated.
const SEED: u64 = 13;
/// From a fault to the next entry of a tree. The bound of the long form is 5 s; here, other tests need the cores too.
const BOUNDS: Bounds = Bounds { resumption_max: Duration::from_secs(10) };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_are_killed_frozen_and_cut_lose_repeat_and_overspend_nothing() -> Result<()> {
    let schedule = Schedule::short(SEED);
    let servers = Servers::start().await?;
    let notes = |note: &str| println!("{note}");
    let report = Box::pin(experiment::run(&schedule, servers, BOUNDS, &notes)).await;
    let report = report.with_context(|| format!("seed {SEED}: {:#?}", schedule.faults))?;
    assert!(report.violations.is_empty(), "seed {SEED}:\n{report}");
    assert!(report.resumed > 0 && report.resumption.is_some(), "no pod owned a run when it failed:\n{report}");
    assert!(report.accepted + 5 > schedule.runs() && report.successes > schedule.runs() / 2, "{report}");
    Ok(())
}
