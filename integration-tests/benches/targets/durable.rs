//! Measures durable five-step workflows on SQLite with FULL sync at 1, 8, 64 and 256 runs in flight, and
//! compares them with LangGraph on its SQLite checkpointer and with Restate, measured in the same run.
//!
//! Greenroom is measured twice: over the socket of `greenroom up`, by a load program in a process of its own,
//! as the peers are; and in one process with its callers, which the ratios do not use. Every program checks
//! the value of each workflow. Greenroom does more work: it authenticates, audits and authorizes each step.
//! `GREENROOM_BENCH_COMPARISONS=off` skips the peers; their rows then give that as the reason.

mod over_socket;
mod peers;

use std::time::Duration;

use greenroom_integration_tests::bench::{Threshold, missing, record, scaled};
use greenroom_integration_tests::closed_loop::{self, Level};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod};
use greenroom_supervisor::compose::Overrides;

use peers::PeerLevels;

/// Runs in flight.
const LEVELS: [usize; 4] = [1, 8, 64, 256];
/// Seconds for which the load of each level is sustained.
const LEVEL_SECONDS: u64 = 8;

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    record_levels(&runtime.block_on(in_process())?)?;
    let ours = runtime.block_on(over_socket::levels())?;
    record_levels(&ours)?;
    let langgraph = peers::measure("langgraph")?;
    let restate = peers::measure("restate")?;
    compare(&ours, &langgraph, &restate)
}

/// Duration of the load of each level.
fn level_duration() -> Duration {
    Duration::from_secs(scaled(LEVEL_SECONDS))
}

/// Measures a pod that shares its process with the callers.
async fn in_process() -> anyhow::Result<Vec<Level>> {
    let definitions = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(definitions.path())?;
    closed_loop::write_definitions(&definitions_dir)?;
    let test_pod = start_pod(StoreKind::Full, Some(definitions_dir.dir()), Overrides::default()).await?;
    let client = test_pod.admin()?;
    let mut levels = Vec::new();
    for in_flight in LEVELS {
        levels.push(closed_loop::run("greenroom in process", &client, in_flight, level_duration()).await?);
    }
    test_pod.pod.shutdown().await;
    Ok(levels)
}

fn record_levels(levels: &[Level]) -> anyhow::Result<()> {
    for Level { peer, in_flight, per_second, p50_ms, p99_ms } in levels {
        let name = format!("{peer}, {in_flight} in flight");
        record("durable", format!("{name}: five-step workflows"), *per_second, "/s", Threshold::Informational)?;
        record("durable", format!("{name}: p50"), *p50_ms, "ms", Threshold::Informational)?;
        record("durable", format!("{name}: p99"), *p99_ms, "ms", Threshold::Informational)?;
    }
    Ok(())
}

fn compare(ours: &[Level], langgraph: &PeerLevels, restate: &PeerLevels) -> anyhow::Result<()> {
    let best_rate = |levels: &[Level]| Some(levels.iter().map(|level| level.per_second).fold(0.0, f64::max));
    let rate_at = |levels: &[Level], in_flight: usize| {
        levels.iter().find(|level| level.in_flight == in_flight).map(|level| level.per_second)
    };
    ratio("our best over the socket ÷ LangGraph's best", ours, langgraph, best_rate, 20.0)?;
    for in_flight in LEVELS {
        let name = format!("ours over the socket ÷ Restate, {in_flight} in flight");
        ratio(&name, ours, restate, |levels| rate_at(levels, in_flight), 3.0)?;
    }
    Ok(())
}

fn ratio(
    name: &str,
    our_levels: &[Level],
    peer_levels: &PeerLevels,
    rate: impl Fn(&[Level]) -> Option<f64>,
    min: f64,
) -> anyhow::Result<()> {
    let threshold = Threshold::AtLeast(min);
    match peer_levels {
        Ok(peer_levels) => match rate(our_levels).zip(rate(peer_levels)) {
            Some((our_levels, peer_levels)) => record("durable", name, our_levels / peer_levels, "×", threshold),
            None => missing("durable", name, "this level is missing", "×", threshold),
        },
        Err(reason) => missing("durable", name, reason, "×", threshold),
    }
}
