//! Three pods on one PostgreSQL, Redis and S3 server, twice: once they receive their requests over their control sockets, and
//! once over NATS. They are killed, frozen, cut from their servers and drained, and their servers are restarted, flushed and
//! filled. What is promised holds. `scripts/chaos` is the long form.
//!
//! A pod that the machine gives no time to renew its lease is declared dead, which the report counts; everything that is
//! promised after a death is checked for it too. So a busy machine makes these tests slower, and no other result.

use std::time::Duration;

use anyhow::{Context, Result};
use greenroom_integration_tests::cluster::checker::Bounds;
use greenroom_integration_tests::cluster::checker::report::Report;
use greenroom_integration_tests::cluster::experiment;
use greenroom_integration_tests::cluster::schedule::Schedule;
use greenroom_integration_tests::cluster::servers::Servers;
use tokio::sync::Mutex;

/// One schedule each, so that a failure can be repeated.
const SEED: u64 = 13;
const SEED_OVER_NATS: u64 = 14;
/// From a fault to the next entry of a tree. The bound that is promised is that of the long form, 5 s, in a release build on
/// a machine with nothing else to do; this one finds what does not resume at all.
const BOUNDS: Bounds = Bounds { resumption_max: Duration::from_secs(45) };

/// Either test needs the cores of a small machine for its pods.
static MACHINE: Mutex<()> = Mutex::const_new(());

async fn run(schedule: &Schedule, servers: Servers) -> Result<Report> {
    let notes = |note: &str| println!("{note}");
    let report = Box::pin(experiment::run(schedule, servers, BOUNDS, &notes)).await;
    let report = report.with_context(|| format!("seed {}: {:#?}", schedule.seed, schedule.faults))?;
    println!("{report}");
    assert!(report.violations.is_empty(), "seed {}:\n{report}", schedule.seed);
    assert!(report.resumed > 0 && report.resumption.is_some(), "no pod owned a run when it failed:\n{report}");
    assert!(report.accepted + 5 > schedule.runs() && report.successes > schedule.runs() / 2, "{report}");
    Ok(report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_are_killed_frozen_and_cut_lose_repeat_and_overspend_nothing() -> Result<()> {
    let _machine = MACHINE.lock().await;
    run(&Schedule::short(SEED), Servers::start().await?).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_nats_every_request_has_a_reply_while_pods_and_the_server_fail_or_are_drained() -> Result<()> {
    let _machine = MACHINE.lock().await;
    let schedule = Schedule::short_over_nats(SEED_OVER_NATS);
    let report = run(&schedule, Servers::start_with_nats().await?).await?;
    assert!(report.requests.sent >= schedule.runs() && report.drained_requests > 0, "{report}");
    assert_eq!(report.foreign_runs, Some(schedule.faults.len()), "{report}");
    Ok(())
}
