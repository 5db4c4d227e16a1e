//! Measures durable five-step workflows on SQLite with FULL sync at 1, 8, 64 and 256 runs in flight, and
//! compares them with LangGraph on its SQLite checkpointer and with Restate, measured in the same run.
//!
//! Greenroom does more work: it authenticates, audits and authorizes each step.
//! `GREENROOM_BENCH_COMPARISONS=off` skips the peers; their rows then give that as the reason.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_client::client::CallParams;
use greenroom_integration_tests::bench::{Latencies, Threshold, missing, record, scaled};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod, text};
use greenroom_protocol::{Status, WorkflowId};
use greenroom_supervisor::compose::Overrides;
use serde::Deserialize;

/// Runs in flight.
const LEVELS: [usize; 4] = [1, 8, 64, 256];
/// Seconds for which the load of each level is sustained.
const LEVEL_SECONDS: u64 = 8;

/// Measurements of one level.
#[derive(Debug, Clone, Deserialize)]
struct Level {
    peer: String,
    in_flight: usize,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let our_levels = runtime.block_on(our_levels())?;
    record_levels(&our_levels)?;
    let langgraph = measure_peer("langgraph")?;
    let restate = measure_peer("restate")?;
    compare(&our_levels, &langgraph, &restate)
}

/// Measurements of a peer, or the reason why it did not run: a machine on which a peer cannot be
/// installed still gets the rest of the table.
type PeerLevels = Result<Vec<Level>, String>;

fn measure_peer(peer: &str) -> anyhow::Result<PeerLevels> {
    if std::env::var_os("GREENROOM_BENCH_COMPARISONS").is_some_and(|word| word == "off") {
        return Ok(Err("GREENROOM_BENCH_COMPARISONS is off".to_owned()));
    }
    let peer_levels = peer_levels(peer).map_err(|error| format!("{error:#}"));
    if let Ok(levels) = &peer_levels {
        record_levels(levels)?;
    }
    Ok(peer_levels)
}

/// Duration of the load of each level.
fn level_duration() -> Duration {
    Duration::from_secs(scaled(LEVEL_SECONDS))
}

async fn our_levels() -> anyhow::Result<Vec<Level>> {
    let definitions = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(definitions.path())?;
    definitions_dir.write_echo_agent("echo_agent")?;
    definitions_dir.write_row_workflow("five_steps", "echo_agent", 5)?;
    let test_pod = start_pod(StoreKind::Full, Some(definitions_dir.dir()), Overrides::default()).await?;
    let client = test_pod.admin()?;
    let workflow = WorkflowId::new("five_steps")?;
    let mut levels = Vec::new();
    for in_flight in LEVELS {
        let started_at = Instant::now();
        let workers: Vec<_> = (0..in_flight)
            .map(|_| {
                let (client, workflow) = (client.clone(), workflow.clone());
                tokio::spawn(async move {
                    let mut durations = Vec::new();
                    while started_at.elapsed() < level_duration() {
                        let run_started_at = Instant::now();
                        let params = CallParams { inputs: text("x"), ..CallParams::default() };
                        let reply = client.run_workflow(workflow.clone(), params).await?;
                        ensure!(reply.status == Status::Success, "{:?}", reply.error);
                        durations.push(run_started_at.elapsed());
                    }
                    anyhow::Ok(durations)
                })
            })
            .collect();
        let mut all_durations = Vec::new();
        for worker in workers {
            all_durations.extend(worker.await??);
        }
        let per_second = all_durations.len() as f64 / started_at.elapsed().as_secs_f64();
        let times: Latencies = all_durations.into_iter().collect();
        let (p50_ms, p99_ms) = (times.millis(0.5), times.millis(0.99));
        levels.push(Level { peer: "greenroom".into(), in_flight, per_second, p50_ms, p99_ms });
    }
    test_pod.pod.shutdown().await;
    Ok(levels)
}

fn peer_levels(peer: &str) -> anyhow::Result<Vec<Level>> {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("comparisons/run");
    let levels = LEVELS.map(|level| level.to_string());
    let output = Command::new(&run).arg(peer).arg(level_duration().as_secs().to_string()).args(levels).output()?;
    ensure!(output.status.success(), "{peer}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let levels: Vec<Level> = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect::<Result<_, _>>()?;
    ensure!(levels.len() == LEVELS.len(), "{peer} reported {} levels", levels.len());
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

fn compare(our_levels: &[Level], langgraph: &PeerLevels, restate: &PeerLevels) -> anyhow::Result<()> {
    let best_rate = |levels: &[Level]| Some(levels.iter().map(|level| level.per_second).fold(0.0, f64::max));
    let rate_at = |levels: &[Level], in_flight: usize| {
        levels.iter().find(|level| level.in_flight == in_flight).map(|level| level.per_second)
    };
    ratio("our best ÷ LangGraph's best", our_levels, langgraph, best_rate, 50.0)?;
    ratio("ours ÷ LangGraph, 1 in flight", our_levels, langgraph, |levels| rate_at(levels, 1), 8.0)?;
    for in_flight in LEVELS {
        let name = format!("ours ÷ Restate, {in_flight} in flight");
        ratio(&name, our_levels, restate, |levels| rate_at(levels, in_flight), 3.0)?;
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
