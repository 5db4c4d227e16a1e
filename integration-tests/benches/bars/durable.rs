//! Durable five-step workflows on SQLite with FULL sync at 1, 8, 64 and 256 in flight, beside
//! LangGraph with its SQLite checkpointer and Restate in the same run.
//!
//! Ours does more: each step is authenticated, audited and judged. `GREENROOM_BENCH_RIVALS=off`
//! leaves the others out.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_client::client::Work;
use greenroom_integration_tests::bench::{Bar, Latencies, record};
use greenroom_integration_tests::house::{Keeps, rent, text};
use greenroom_integration_tests::stagehand::Stagehand;
use greenroom_protocol::{Status, WorkflowId};
use greenroom_supervisor::compose::Extras;
use serde::Deserialize;

/// Runs in flight.
const LEVELS: [usize; 4] = [1, 8, 64, 256];
/// How long each level is kept up.
const SPAN: Duration = Duration::from_secs(8);

/// What one level came to.
#[derive(Debug, Clone, Deserialize)]
struct Level {
    rival: String,
    in_flight: usize,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ours = runtime.block_on(ours())?;
    tell(&ours)?;
    if std::env::var_os("GREENROOM_BENCH_RIVALS").is_some_and(|word| word == "off") {
        return Ok(());
    }
    let theirs = rivals()?;
    tell(&theirs)?;
    compare(&ours, &theirs)
}

async fn ours() -> anyhow::Result<Vec<Level>> {
    let definitions = tempfile::tempdir()?;
    let stagehand = Stagehand::new(definitions.path())?;
    stagehand.echo_agent("echo_agent")?;
    stagehand.row_workflow("five_steps", "echo_agent", 5)?;
    let rented = rent(Keeps::Full, Some(stagehand.dir()), Extras::default()).await?;
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
                    while began.elapsed() < SPAN {
                        let start = Instant::now();
                        let work = Work { inputs: text("x"), ..Work::default() };
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
        levels.push(Level { rival: "greenroom".into(), in_flight, per_second, p50_ms, p99_ms });
    }
    rented.house.shutdown().await;
    Ok(levels)
}

fn rivals() -> anyhow::Result<Vec<Level>> {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals/run");
    let levels = LEVELS.map(|level| level.to_string());
    let done = Command::new(&run).arg(SPAN.as_secs().to_string()).args(levels).output()?;
    ensure!(done.status.success(), "{}: {}", run.display(), String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout)?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

fn tell(levels: &[Level]) -> anyhow::Result<()> {
    for Level { rival, in_flight, per_second, p50_ms, p99_ms } in levels {
        let name = format!("{rival}, {in_flight} in flight");
        record("durable", format!("{name}: five-step workflows"), *per_second, "/s", Bar::Told)?;
        record("durable", format!("{name}: p50"), *p50_ms, "ms", Bar::Told)?;
        record("durable", format!("{name}: p99"), *p99_ms, "ms", Bar::Told)?;
    }
    Ok(())
}

fn compare(ours: &[Level], theirs: &[Level]) -> anyhow::Result<()> {
    let of = |rival: &str| theirs.iter().filter(|level| level.rival == rival).collect::<Vec<_>>();
    let (langgraph, restate) = (of("langgraph"), of("restate"));
    let best = |levels: &[&Level]| levels.iter().map(|level| level.per_second).fold(0.0, f64::max);
    let at = |levels: &[&Level], in_flight: usize| -> anyhow::Result<f64> {
        let found = levels.iter().find(|level| level.in_flight == in_flight);
        Ok(found.with_context(|| format!("no figure at {in_flight} in flight"))?.per_second)
    };
    let ours: Vec<&Level> = ours.iter().collect();
    let ratio = best(&ours) / best(&langgraph);
    record("durable", "our best ÷ LangGraph's best", ratio, "×", Bar::AtLeast(50.0))?;
    let ratio = at(&ours, 1)? / at(&langgraph, 1)?;
    record("durable", "ours ÷ LangGraph, 1 in flight", ratio, "×", Bar::AtLeast(8.0))?;
    for in_flight in LEVELS {
        let ratio = at(&ours, in_flight)? / at(&restate, in_flight)?;
        record("durable", format!("ours ÷ Restate, {in_flight} in flight"), ratio, "×", Bar::AtLeast(3.0))?;
    }
    Ok(())
}
