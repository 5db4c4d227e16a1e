//! Durable five-step workflows on SQLite with FULL sync at 1, 8, 64 and 256 in flight, beside
//! LangGraph with its SQLite checkpointer and Restate in the same run.
//!
//! Ours does more: each step is authenticated, audited and judged. `GREENROOM_BENCH_RIVALS=off`
//! leaves the others out, and the table says so.

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
/// Seconds for which each level is kept up.
const SPAN_SECONDS: u64 = 8;

/// What one level came to.
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
    let ours = runtime.block_on(ours())?;
    tell(&ours)?;
    let langgraph = told("langgraph")?;
    let restate = told("restate")?;
    compare(&ours, &langgraph, &restate)
}

/// What a rival came to, or why it did not run: a machine on which it cannot be installed still gets
/// the rest of the table.
type Theirs = Result<Vec<Level>, String>;

fn told(peer: &str) -> anyhow::Result<Theirs> {
    if std::env::var_os("GREENROOM_BENCH_RIVALS").is_some_and(|word| word == "off") {
        return Ok(Err("GREENROOM_BENCH_RIVALS is off".to_owned()));
    }
    let theirs = theirs(peer).map_err(|error| format!("{error:#}"));
    if let Ok(levels) = &theirs {
        tell(levels)?;
    }
    Ok(theirs)
}

/// How long each level is kept up.
fn span() -> Duration {
    Duration::from_secs(scaled(SPAN_SECONDS))
}

async fn ours() -> anyhow::Result<Vec<Level>> {
    let definitions = tempfile::tempdir()?;
    let stagehand = DefinitionsDir::new(definitions.path())?;
    stagehand.echo_agent("echo_agent")?;
    stagehand.row_workflow("five_steps", "echo_agent", 5)?;
    let rented = start_pod(StoreKind::Full, Some(stagehand.dir()), Overrides::default()).await?;
    let client = rented.admin()?;
    let workflow = WorkflowId::new("five_steps")?;
    let mut levels = Vec::new();
    for in_flight in LEVELS {
        let began = Instant::now();
        let workers: Vec<_> = (0..in_flight)
            .map(|_| {
                let (client, workflow) = (client.clone(), workflow.clone());
                tokio::spawn(async move {
                    let mut took = Vec::new();
                    while began.elapsed() < span() {
                        let start = Instant::now();
                        let work = CallParams { inputs: text("x"), ..CallParams::default() };
                        let reply = client.run_workflow(workflow.clone(), work).await?;
                        ensure!(reply.status == Status::Success, "{:?}", reply.error);
                        took.push(start.elapsed());
                    }
                    anyhow::Ok(took)
                })
            })
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.await??);
        }
        let per_second = all.len() as f64 / began.elapsed().as_secs_f64();
        let times: Latencies = all.into_iter().collect();
        let (p50_ms, p99_ms) = (times.millis(0.5), times.millis(0.99));
        levels.push(Level { peer: "greenroom".into(), in_flight, per_second, p50_ms, p99_ms });
    }
    rented.pod.shutdown().await;
    Ok(levels)
}

fn theirs(peer: &str) -> anyhow::Result<Vec<Level>> {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("comparisons/run");
    let levels = LEVELS.map(|level| level.to_string());
    let done = Command::new(&run).arg(peer).arg(span().as_secs().to_string()).args(levels).output()?;
    ensure!(done.status.success(), "{peer}: {}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout)?;
    let levels: Vec<Level> = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect::<Result<_, _>>()?;
    ensure!(levels.len() == LEVELS.len(), "{peer} told of {} levels", levels.len());
    Ok(levels)
}

fn tell(levels: &[Level]) -> anyhow::Result<()> {
    for Level { peer: rival, in_flight, per_second, p50_ms, p99_ms } in levels {
        let name = format!("{rival}, {in_flight} in flight");
        record("durable", format!("{name}: five-step workflows"), *per_second, "/s", Threshold::Informational)?;
        record("durable", format!("{name}: p50"), *p50_ms, "ms", Threshold::Informational)?;
        record("durable", format!("{name}: p99"), *p99_ms, "ms", Threshold::Informational)?;
    }
    Ok(())
}

fn compare(ours: &[Level], langgraph: &Theirs, restate: &Theirs) -> anyhow::Result<()> {
    let best = |levels: &[Level]| Some(levels.iter().map(|level| level.per_second).fold(0.0, f64::max));
    let at = |levels: &[Level], in_flight: usize| {
        levels.iter().find(|level| level.in_flight == in_flight).map(|level| level.per_second)
    };
    ratio("our best ÷ LangGraph's best", ours, langgraph, best, 50.0)?;
    ratio("ours ÷ LangGraph, 1 in flight", ours, langgraph, |levels| at(levels, 1), 8.0)?;
    for in_flight in LEVELS {
        let what = format!("ours ÷ Restate, {in_flight} in flight");
        ratio(&what, ours, restate, |levels| at(levels, in_flight), 3.0)?;
    }
    Ok(())
}

fn ratio(
    what: &str,
    ours: &[Level],
    theirs: &Theirs,
    of: impl Fn(&[Level]) -> Option<f64>,
    least: f64,
) -> anyhow::Result<()> {
    let bar = Threshold::AtLeast(least);
    match theirs {
        Ok(theirs) => match of(ours).zip(of(theirs)) {
            Some((ours, theirs)) => record("durable", what, ours / theirs, "×", bar),
            None => missing("durable", what, "this level is missing", "×", bar),
        },
        Err(why) => missing("durable", what, why, "×", bar),
    }
}
