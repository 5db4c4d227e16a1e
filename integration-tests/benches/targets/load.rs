//! Measures load: executions per second through the whole pipeline, and ten and a hundred thousand
//! concurrent executions; in `tenants`, the effect of one tenant's load on another, and the time in which
//! a cancelled run releases its resources.
//!
//! Authentication, audit, guard and usage windows are active in every row. Each part runs in a process of
//! its own, so that the memory it reports is its own.

mod tenants;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::bench::{Latencies, Threshold, cpu_time, memory, record, scaled};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, TestPod, start_pod, text};
use greenroom_protocol::{AgentId, Status};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedCall, ScriptedReply};
use greenroom_supervisor::compose::Overrides;
use tokio::task::{JoinHandle, JoinSet};

/// Delay of the scripted model before it answers.
const MODEL_DELAY: Duration = Duration::from_secs(5);

pub(crate) fn main(arguments: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.first().copied() {
        Some("rate") => runtime.block_on(rate()),
        Some("steady") => runtime.block_on(steady(Duration::from_secs(scaled(60).max(12)), 2_000)),
        Some("burst") => runtime.block_on(burst(scaled(10_000))),
        Some("concurrent") => runtime.block_on(concurrent(scaled(100_000))),
        Some("fair") => runtime.block_on(tenants::fair()),
        Some("cancel") => runtime.block_on(tenants::cancel()),
        Some(other) => anyhow::bail!("no part is named {other}"),
        None => {
            let parts = ["rate", "steady", "burst", "concurrent", "fair", "cancel"];
            parts.into_iter().try_for_each(|part| super::run_separately(&["load", part]))
        }
    }
}

/// Starts a pod with an agent that does nothing and one whose model answers after `model_delay`.
async fn pod(store: StoreKind, model_delay: Duration) -> anyhow::Result<(TestPod, Arc<Scripted>)> {
    let definitions = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(definitions.path())?;
    definitions_dir.write_echo_agent("echo_agent")?;
    definitions_dir.write_model_agent("thinking_agent", "scripted.slow")?;
    let call = ScriptedCall {
        delay_ms: u64::try_from(model_delay.as_millis())?,
        reply: ScriptedReply::Blank,
        ..ScriptedCall::default()
    };
    let scripted = Arc::new(Scripted::new(Script { calls: vec![call] }));
    let overrides = Overrides { providers: vec![scripted.clone()], ..Overrides::default() };
    Ok((start_pod(store, Some(definitions_dir.dir()), overrides).await?, scripted))
}

async fn execute(client: &Client, agent: &AgentId) -> anyhow::Result<Duration> {
    execute_due_at(client, agent, Instant::now()).await
}

/// Executes the agent and returns the time since `due_at`: a request that was sent late counts its delay.
async fn execute_due_at(client: &Client, agent: &AgentId, due_at: Instant) -> anyhow::Result<Duration> {
    let params = CallParams { inputs: text("a small document"), ..CallParams::default() };
    let reply = client.run_agent(agent.clone(), params).await?;
    ensure!(reply.status == Status::Success, "{:?}", reply.error);
    Ok(due_at.elapsed())
}

/// Measures executions per second of an agent that does nothing, through the whole pipeline.
async fn rate() -> anyhow::Result<()> {
    for store in [StoreKind::Full, StoreKind::Memory] {
        let (test_pod, _) = pod(store, Duration::ZERO).await?;
        let agent = AgentId::new("echo_agent")?;
        let client = test_pod.admin()?;
        execute(&client, &agent).await?;
        let duration = Duration::from_secs(5);
        let cpu = cpu_time()?;
        let started_at = Instant::now();
        let workers: Vec<_> = (0..512)
            .map(|_| {
                let (client, agent) = (client.clone(), agent.clone());
                tokio::spawn(async move {
                    let mut durations = Vec::new();
                    while started_at.elapsed() < duration {
                        durations.push(execute(&client, &agent).await?);
                    }
                    anyhow::Ok(durations)
                })
            })
            .collect();
        let mut tasks = Vec::new();
        for worker in workers {
            tasks.extend(worker.await??);
        }
        let rate = tasks.len() as f64 / started_at.elapsed().as_secs_f64();
        let each = (cpu_time()?.saturating_sub(cpu)).as_secs_f64() * 1e6 / tasks.len().max(1) as f64;
        let times: Latencies = tasks.into_iter().collect();
        let (name, threshold) = match store {
            StoreKind::Full => ("SQLite FULL", Threshold::AtLeast(10_000.0)),
            StoreKind::Normal | StoreKind::Memory => ("in memory", Threshold::Informational),
        };
        record("load", format!("governed executions, no-op, 512 in flight, {name}"), rate, "/s", threshold)?;
        record("load", format!("  of them p99, {name}"), times.millis(0.99), "ms", Threshold::Informational)?;
        record("load", format!("  processor time of each, {name}"), each, "µs", Threshold::Informational)?;
        test_pod.pod.shutdown().await;
    }
    Ok(())
}

/// Sends `per_second` requests for `duration` in an open loop; each waits for its model. A request counts from
/// the time at which it was due, so that a late one hides no delay.
async fn steady(duration: Duration, per_second: u32) -> anyhow::Result<()> {
    let (test_pod, _) = pod(StoreKind::Full, MODEL_DELAY).await?;
    let agent = AgentId::new("thinking_agent")?;
    let client = test_pod.admin()?;
    let started_at = Instant::now();
    let interval = Duration::from_secs(1) / per_second;
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let mut tasks = JoinSet::new();
    let (mut durations, mut failed) = (Vec::new(), 0.0);
    let mut count = |outcome: anyhow::Result<Duration>| match outcome {
        Ok(total) => durations.push(total.saturating_sub(MODEL_DELAY)),
        Err(_) => failed += 1.0,
    };
    let mut due_at = started_at;
    while due_at < started_at + duration {
        ticks.tick().await;
        while due_at <= Instant::now() && due_at < started_at + duration {
            let (client, agent) = (client.clone(), agent.clone());
            tasks.spawn(async move { execute_due_at(&client, &agent, due_at).await });
            due_at += interval;
        }
        while let Some(ended) = tasks.try_join_next() {
            count(ended?);
        }
    }
    let in_flight = tasks.len();
    let peak = memory()?.peak;
    while let Some(ended) = tasks.join_next().await {
        count(ended?);
    }
    let added: Latencies = durations.into_iter().collect();
    let name = format!("{per_second} arrivals/s for {} s, {in_flight} in flight", duration.as_secs());
    record("load", format!("{name}: errors"), failed, "", Threshold::AtMost(0.0))?;
    record("load", format!("{name}: added p50"), added.millis(0.5), "ms", Threshold::Informational)?;
    record("load", format!("{name}: added p99"), added.millis(0.99), "ms", Threshold::AtMost(50.0))?;
    record("load", format!("{name}: peak memory"), peak, "MiB", Threshold::AtMost(256.0))?;
    test_pod.pod.shutdown().await;
    Ok(())
}

/// Sends `count` requests at once; the target is that all have started within two seconds.
async fn burst(count: u64) -> anyhow::Result<()> {
    let (test_pod, scripted) = pod(StoreKind::Full, MODEL_DELAY).await?;
    let agent = AgentId::new("thinking_agent")?;
    let client = test_pod.admin()?;
    let started_at = Instant::now();
    let tasks = at_once(&client, &agent, count);
    let started = all_started(&scripted, count, started_at).await?;
    let failed = failures(tasks).await?;
    record("load", format!("{count} at once: errors"), failed, "", Threshold::AtMost(0.0))?;
    record("load", format!("{count} at once: all started after"), started.as_secs_f64(), "s", Threshold::AtMost(2.0))?;
    test_pod.pod.shutdown().await;
    Ok(())
}

/// Keeps `count` executions waiting for the model at the same time.
async fn concurrent(count: u64) -> anyhow::Result<()> {
    // The delay is long enough that the first execution still waits when the last one starts.
    let (test_pod, scripted) = pod(StoreKind::Full, Duration::from_secs(60)).await?;
    let agent = AgentId::new("thinking_agent")?;
    let client = test_pod.admin()?;
    let started_at = Instant::now();
    let tasks = at_once(&client, &agent, count);
    let started = all_started(&scripted, count, started_at).await?;
    let resident = memory()?.peak;
    ensure!(started < Duration::from_secs(60), "the first execution ended before the last one started: {started:?}");
    let failed = failures(tasks).await?;
    record("load", format!("{count} concurrent: errors"), failed, "", Threshold::AtMost(0.0))?;
    record("load", format!("{count} concurrent: memory"), resident, "MiB", Threshold::AtMost(2048.0))?;
    record(
        "load",
        format!("{count} concurrent: all started after"),
        started.as_secs_f64(),
        "s",
        Threshold::Informational,
    )?;
    test_pod.pod.shutdown().await;
    Ok(())
}

fn at_once(client: &Client, agent: &AgentId, count: u64) -> Vec<JoinHandle<anyhow::Result<Duration>>> {
    let task = |_| {
        let (client, agent) = (client.clone(), agent.clone());
        tokio::spawn(async move { execute(&client, &agent).await })
    };
    (0..count).map(task).collect()
}

async fn all_started(scripted: &Scripted, count: u64, started_at: Instant) -> anyhow::Result<Duration> {
    let waiting = async {
        while scripted.stats().calls < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        started_at.elapsed()
    };
    tokio::time::timeout(Duration::from_secs(120), waiting)
        .await
        .with_context(|| format!("only {} of {count} have started", scripted.stats().calls))
}

async fn failures(tasks: Vec<JoinHandle<anyhow::Result<Duration>>>) -> anyhow::Result<f64> {
    let mut failed = 0.0;
    for task in tasks {
        if let Err(error) = task.await? {
            if failed == 0.0 {
                eprintln!("the first failure: {error:#}");
            }
            failed += 1.0;
        }
    }
    Ok(failed)
}
