//! Crowds: executions a second through the whole pipeline, and ten and a hundred thousand at once; in
//! `tenants`, what one tenant's flood does to another, and how soon a cancelled run has let go.
//!
//! Authentication, audit, guard and usage windows are on in every row. The part that holds a crowd is
//! run in a process of its own, so that the memory it reports is its own.

mod tenants;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use greenroom_client::client::{CallParams, Client};
use greenroom_integration_tests::bench::{Latencies, Threshold, cpu_time, memory, record, scaled};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, TestPod, start_pod, text};
use greenroom_protocol::{AgentId, Status};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedCall, ScriptedReply};
use greenroom_supervisor::compose::Overrides;
use tokio::task::JoinHandle;

/// How long the model of a crowd thinks.
const THINKS: Duration = Duration::from_secs(5);

pub(crate) fn main(words: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match words.first().copied() {
        Some("rate") => runtime.block_on(rate()),
        Some("steady") => runtime.block_on(steady(Duration::from_secs(scaled(60).max(12)), 2_000)),
        Some("burst") => runtime.block_on(burst(scaled(10_000))),
        Some("held") => runtime.block_on(held(scaled(100_000))),
        Some("fair") => runtime.block_on(tenants::fair()),
        Some("cancel") => runtime.block_on(tenants::cancel()),
        Some(other) => anyhow::bail!("no part is named {other}"),
        None => {
            let parts = ["rate", "steady", "burst", "held", "fair", "cancel"];
            parts.into_iter().try_for_each(|part| super::alone(&["crowd", part]))
        }
    }
}

/// A house with an agent that does nothing and one whose model thinks for `thinks`.
async fn pod(keeps: StoreKind, thinks: Duration) -> anyhow::Result<(TestPod, Arc<Scripted>)> {
    let definitions = tempfile::tempdir()?;
    let stagehand = DefinitionsDir::new(definitions.path())?;
    stagehand.echo_agent("echo_agent")?;
    stagehand.model_agent("thinking_agent", "scripted.slow")?;
    let call = ScriptedCall {
        delay_ms: u64::try_from(thinks.as_millis())?,
        reply: ScriptedReply::Blank,
        ..ScriptedCall::default()
    };
    let scripted = Arc::new(Scripted::new(Script { calls: vec![call] }));
    let extras = Overrides { providers: vec![scripted.clone()], ..Overrides::default() };
    Ok((start_pod(keeps, Some(stagehand.dir()), extras).await?, scripted))
}

async fn execute(client: &Client, agent: &AgentId) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let work = CallParams { inputs: text("a small document"), ..CallParams::default() };
    let reply = client.run_agent(agent.clone(), work).await?;
    ensure!(reply.status == Status::Success, "{:?}", reply.error);
    Ok(began.elapsed())
}

/// Executions a second of an agent that does nothing, everything on.
async fn rate() -> anyhow::Result<()> {
    for keeps in [StoreKind::Full, StoreKind::Memory] {
        let (rented, _) = pod(keeps, Duration::ZERO).await?;
        let agent = AgentId::new("echo_agent")?;
        let client = rented.admin()?;
        execute(&client, &agent).await?;
        let span = Duration::from_secs(5);
        let cpu = cpu_time()?;
        let began = Instant::now();
        let workers: Vec<_> = (0..512)
            .map(|_| {
                let (client, agent) = (client.clone(), agent.clone());
                tokio::spawn(async move {
                    let mut took = Vec::new();
                    while began.elapsed() < span {
                        took.push(execute(&client, &agent).await?);
                    }
                    anyhow::Ok(took)
                })
            })
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.await??);
        }
        let rate = all.len() as f64 / began.elapsed().as_secs_f64();
        let each = (cpu_time()?.saturating_sub(cpu)).as_secs_f64() * 1e6 / all.len().max(1) as f64;
        let times: Latencies = all.into_iter().collect();
        let (name, bar) = match keeps {
            StoreKind::Full => ("SQLite FULL", Threshold::AtLeast(10_000.0)),
            StoreKind::Normal | StoreKind::Memory => ("in memory", Threshold::Informational),
        };
        record("crowd", format!("governed executions, no-op, 512 in flight, {name}"), rate, "/s", bar)?;
        record("crowd", format!("  of them p99, {name}"), times.millis(0.99), "ms", Threshold::Informational)?;
        record("crowd", format!("  processor time of each, {name}"), each, "µs", Threshold::Informational)?;
        rented.pod.shutdown().await;
    }
    Ok(())
}

/// An open loop: `per_second` arrivals for `span`, each held by its model.
async fn steady(span: Duration, per_second: u64) -> anyhow::Result<()> {
    let (rented, _) = pod(StoreKind::Full, THINKS).await?;
    let agent = AgentId::new("thinking_agent")?;
    let client = rented.admin()?;
    let failed = Arc::new(AtomicU64::new(0));
    let mut pending = FuturesUnordered::new();
    let mut took = Vec::new();
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let mut sent = 0_u64;
    while began.elapsed() < span {
        tokio::select! {
            _ = ticks.tick() => {
                let due = (began.elapsed().as_secs_f64() * per_second as f64) as u64;
                for _ in sent..due {
                    let (client, agent, failed) = (client.clone(), agent.clone(), Arc::clone(&failed));
                    pending.push(tokio::spawn(async move {
                        let done = execute(&client, &agent).await;
                        if done.is_err() { failed.fetch_add(1, Ordering::Relaxed); }
                        done.ok()
                    }));
                }
                sent = due;
            }
            Some(done) = pending.next() => took.extend(done?),
        }
    }
    let in_flight = pending.len();
    let peak = memory()?.peak;
    while let Some(done) = pending.next().await {
        took.extend(done?);
    }
    let added: Latencies = took.iter().map(|took| took.saturating_sub(THINKS)).collect();
    let failed = failed.load(Ordering::Relaxed);
    let name = format!("{per_second} arrivals/s for {} s, {in_flight} in flight", span.as_secs());
    record("crowd", format!("{name}: errors"), failed as f64, "", Threshold::AtMost(0.0))?;
    record("crowd", format!("{name}: added p50"), added.millis(0.5), "ms", Threshold::Informational)?;
    record("crowd", format!("{name}: added p99"), added.millis(0.99), "ms", Threshold::AtMost(50.0))?;
    record("crowd", format!("{name}: peak memory"), peak, "MiB", Threshold::AtMost(256.0))?;
    rented.pod.shutdown().await;
    Ok(())
}

/// `count` at one moment: all have started within two seconds.
async fn burst(count: u64) -> anyhow::Result<()> {
    let (rented, scripted) = pod(StoreKind::Full, THINKS).await?;
    let agent = AgentId::new("thinking_agent")?;
    let client = rented.admin()?;
    let began = Instant::now();
    let all = at_once(&client, &agent, count);
    let started = all_started(&scripted, count, began).await?;
    let failed = failures(all).await?;
    record("crowd", format!("{count} at once: errors"), failed, "", Threshold::AtMost(0.0))?;
    record("crowd", format!("{count} at once: all started after"), started.as_secs_f64(), "s", Threshold::AtMost(2.0))?;
    rented.pod.shutdown().await;
    Ok(())
}

/// `count` held in the model at one moment.
async fn held(count: u64) -> anyhow::Result<()> {
    // The model thinks for so long that the first is still there when the last one arrives.
    let (rented, scripted) = pod(StoreKind::Full, Duration::from_secs(60)).await?;
    let agent = AgentId::new("thinking_agent")?;
    let client = rented.admin()?;
    let began = Instant::now();
    let all = at_once(&client, &agent, count);
    let started = all_started(&scripted, count, began).await?;
    let resident = memory()?.peak;
    ensure!(started < Duration::from_secs(60), "the first had gone before the last one came: {started:?}");
    let failed = failures(all).await?;
    record("crowd", format!("{count} held at one moment: errors"), failed, "", Threshold::AtMost(0.0))?;
    record("crowd", format!("{count} held at one moment: memory"), resident, "MiB", Threshold::AtMost(2048.0))?;
    record(
        "crowd",
        format!("{count} held at one moment: all started after"),
        started.as_secs_f64(),
        "s",
        Threshold::Informational,
    )?;
    rented.pod.shutdown().await;
    Ok(())
}

fn at_once(client: &Client, agent: &AgentId, count: u64) -> Vec<JoinHandle<anyhow::Result<Duration>>> {
    let one = |_| {
        let (client, agent) = (client.clone(), agent.clone());
        tokio::spawn(async move { execute(&client, &agent).await })
    };
    (0..count).map(one).collect()
}

async fn all_started(scripted: &Scripted, count: u64, began: Instant) -> anyhow::Result<Duration> {
    let waiting = async {
        while scripted.stats().calls < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        began.elapsed()
    };
    tokio::time::timeout(Duration::from_secs(120), waiting)
        .await
        .with_context(|| format!("only {} of {count} have started", scripted.stats().calls))
}

async fn failures(all: Vec<JoinHandle<anyhow::Result<Duration>>>) -> anyhow::Result<f64> {
    let mut failed = 0.0;
    for one in all {
        if let Err(error) = one.await? {
            if failed == 0.0 {
                eprintln!("the first failure: {error:#}");
            }
            failed += 1.0;
        }
    }
    Ok(failed)
}
