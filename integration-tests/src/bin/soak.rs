//! Applies a steady load to the whole pipeline: `soak [SECONDS] [REQUESTS_PER_SECOND]`. Without a rate, the
//! capacity of the pod is measured first, by callers that never pause, and the load is a third of it.
//!
//! Agents, workflows, a scripted model, denials, unknown names and cancelled runs arrive in an open loop;
//! memory, open files, threads and requests in flight are sampled each second. It exits with 1 if one of
//! them grows. The rule: after a warm-up of a third, in which the database's caches fill, the
//! least-squares line through the memory samples may rise by [`RSS_GROWTH_MAX_MIB`] over the measured time,
//! and the median of the last fifth of open files and threads may exceed that of the first by
//! [`COUNT_GROWTH_MAX`].

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::bench::{Threshold, memory, record};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, TestPod, start_pod, text};
use greenroom_protocol::{AgentId, ErrorCode, RunId, Status, Tokens, UserId, WorkflowId};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedCall, ScriptedReply};
use greenroom_supervisor::compose::Overrides;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Default of the first argument.
const SECONDS: u64 = 600;
/// The part of the measured capacity that the load is, if the second argument is missing.
const LOAD_SHARE: f64 = 1.0 / 3.0;
/// Callers of the measurement of the capacity, and its duration.
const CAPACITY_CALLERS: u64 = 256;
const CAPACITY_DURATION: Duration = Duration::from_secs(10);
/// Milliseconds before the scripted model answers.
const MODEL_DELAY_MS: u64 = 50;
/// Interval between two batches of arrivals.
const TICK: Duration = Duration::from_millis(100);
/// Maximum of pending requests; a steady load far from overload has far fewer.
const PENDING_MAX: usize = 2_000;
/// Maximum growth over the measured time: of memory in MiB, and of the number of open files and threads.
const RSS_GROWTH_MAX_MIB: f64 = 8.0;
const COUNT_GROWTH_MAX: f64 = 8.0;

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u64>());
    let seconds = numbers.next().unwrap_or(Ok(SECONDS))?;
    let rate = numbers.next().transpose()?;
    ensure!(seconds >= 30, "a soak of less than 30 s is too short to show growth");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rate = match rate {
        Some(rate) => rate,
        None => third_of(runtime.block_on(capacity())?)?,
    };
    let samples = runtime.block_on(soak(Duration::from_secs(seconds), rate))?;
    report(&samples, rate)
}

/// Measures the requests per second of the soak's mixture that a pod of its own completes.
async fn capacity() -> anyhow::Result<f64> {
    let (test_pod, _definitions) = pod().await?;
    let (admin, guest) = (test_pod.admin()?, test_pod.pod.client(&UserId::new("guest")?));
    let started_at = Instant::now();
    let caller = |caller: u64| {
        let (admin, guest) = (admin.clone(), guest.clone());
        async move {
            let mut count = 0;
            while started_at.elapsed() < CAPACITY_DURATION {
                // Callers begin at different places of the mixture.
                arrive(admin.clone(), guest.clone(), caller + count).await?;
                count += 1;
            }
            anyhow::Ok(count)
        }
    };
    let counts = futures::future::try_join_all((0..CAPACITY_CALLERS).map(caller)).await?;
    let count = u32::try_from(counts.iter().sum::<u64>())?;
    let capacity = f64::from(count) / started_at.elapsed().as_secs_f64();
    test_pod.pod.shutdown().await;
    record("soak", "capacity for this mixture of requests", capacity, "/s", Threshold::Informational)?;
    Ok(capacity)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate of requests")]
fn third_of(capacity: f64) -> anyhow::Result<u64> {
    let rate = (capacity * LOAD_SHARE) as u64;
    ensure!(rate > 0, "the capacity is {capacity} requests per second");
    Ok(rate)
}

/// Resources of the process at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    rss_mib: f64,
    files: f64,
    threads: f64,
    in_flight: f64,
}

impl Sample {
    fn now(test_pod: &TestPod) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
        let files = u32::try_from(std::fs::read_dir("/proc/self/fd")?.count())?;
        let in_flight = u32::try_from(test_pod.pod.in_flight())?;
        let threads = threads.context("the number of threads")?;
        Ok(Self { rss_mib: memory()?.resident, files: files.into(), threads, in_flight: in_flight.into() })
    }
}

async fn pod() -> anyhow::Result<(TestPod, tempfile::TempDir)> {
    let definitions = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(definitions.path())?;
    definitions_dir.write_echo_agent("echo_agent")?;
    definitions_dir.write_model_agent("thinking_agent", "scripted.slow")?;
    definitions_dir.write_row_workflow("thinking_in_a_row", "thinking_agent", 3)?;
    let usage = Some(Tokens { input: 100, output: 10 });
    let call = ScriptedCall { delay_ms: MODEL_DELAY_MS, reply: ScriptedReply::Blank, usage, ..ScriptedCall::default() };
    let scripted = Arc::new(Scripted::new(Script { calls: vec![call] }));
    let overrides = Overrides { providers: vec![scripted], ..Overrides::default() };
    Ok((start_pod(StoreKind::Full, Some(definitions_dir.dir()), overrides).await?, definitions))
}

/// Sends one request; its kind follows from its number, so that every soak has the same mixture.
async fn arrive(admin: Client, guest: Client, number: u64) -> anyhow::Result<()> {
    let params = || CallParams { inputs: text("a small document"), ..CallParams::default() };
    match number % 20 {
        0..=11 => expect(admin.run_agent(AgentId::new("echo_agent")?, params()).await?.status, Status::Success),
        12..=15 => expect(admin.run_agent(AgentId::new("thinking_agent")?, params()).await?.status, Status::Success),
        16 => {
            let workflow = WorkflowId::new("thinking_in_a_row")?;
            expect(admin.run_workflow(workflow, params()).await?.status, Status::Success)
        }
        17 => expect(guest.run_agent(AgentId::new("echo_agent")?, params()).await?.status, Status::Denied),
        18 => {
            let reply = admin.run_agent(AgentId::new("unregistered_agent")?, params()).await?;
            ensure!(reply.error.as_ref().is_some_and(|cause| cause.code == ErrorCode::UnknownAgent), "{reply:?}");
            Ok(())
        }
        _ => {
            let detached = CallParams { detach: true, ..params() };
            let reply = admin.run_workflow(WorkflowId::new("thinking_in_a_row")?, detached).await?;
            ensure!(reply.error.is_none(), "{reply:?}");
            let cancelled = admin.cancel(RunId::new(reply.id)?).await?;
            // On a busy machine the run may have ended first.
            let outcome = cancelled.error.as_ref().is_none_or(|cause| cause.code == ErrorCode::RunNotActive);
            ensure!(outcome, "{cancelled:?}");
            Ok(())
        }
    }
}

fn expect(found: Status, wanted: Status) -> anyhow::Result<()> {
    ensure!(found == wanted, "{found:?} instead of {wanted:?}");
    Ok(())
}

async fn soak(length: Duration, rate: u64) -> anyhow::Result<Vec<Sample>> {
    let (test_pod, _definitions) = pod().await?;
    let (admin, guest) = (test_pod.admin()?, test_pod.pod.client(&UserId::new("guest")?));
    let (mut arrivals, mut sample_ticks) = (interval(TICK), interval(Duration::from_secs(1)));
    arrivals.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut pending, mut samples, mut number) = (FuturesUnordered::new(), Vec::new(), 0_u64);
    let ends_at = Instant::now() + length;
    let mut due_tenths = 0;
    while Instant::now() < ends_at {
        tokio::select! {
            _ = arrivals.tick() => {
                due_tenths += rate;
                while due_tenths >= 10 {
                    due_tenths -= 10;
                    pending.push(arrive(admin.clone(), guest.clone(), number));
                    number += 1;
                }
                ensure!(pending.len() <= PENDING_MAX, "{} requests are pending: the load exceeds the capacity", pending.len());
            }
            _ = sample_ticks.tick() => samples.push(Sample::now(&test_pod)?),
            Some(outcome) = pending.next() => outcome?,
        }
    }
    while let Some(outcome) = pending.next().await {
        outcome?;
    }
    let chain = test_pod.pod.stores().audit.verify().await?;
    ensure!(chain.is_valid(), "{chain:?}");
    writeln!(std::io::stdout(), "{number} requests in {length:?}, {} records in the audit", chain.records)?;
    test_pod.pod.shutdown().await;
    Ok(samples)
}

/// Reports the measurements, and fails if one of them grew.
fn report(samples: &[Sample], rate: u64) -> anyhow::Result<()> {
    let warm = samples.get(samples.len() / 3..).context("samples")?;
    let series = |value: fn(&Sample) -> f64| warm.iter().map(value).collect::<Vec<f64>>();
    let rss = series(|sample| sample.rss_mib);
    let (slope, seconds) = (slope(&rss), rss.iter().map(|_| 1.0).sum::<f64>());
    let growth = |counts: &[f64]| -> f64 {
        let fifth = (counts.len() / 5).max(1);
        let first = counts.get(..fifth).map(median);
        let last = counts.get(counts.len() - fifth..).map(median);
        last.unwrap_or_default() - first.unwrap_or_default()
    };
    let (files, threads) = (growth(&series(|sample| sample.files)), growth(&series(|sample| sample.threads)));
    let name = format!("{rate} requests/s for {} s", samples.len());
    record("soak", format!("{name}: memory, median"), median(&rss), "MiB", Threshold::Informational)?;
    record("soak", format!("{name}: memory's slope"), slope * 60.0, "MiB/min", Threshold::Informational)?;
    record("soak", format!("{name}: memory's rise"), slope * seconds, "MiB", Threshold::AtMost(RSS_GROWTH_MAX_MIB))?;
    record("soak", format!("{name}: more open files"), files, "", Threshold::AtMost(COUNT_GROWTH_MAX))?;
    record("soak", format!("{name}: more threads"), threads, "", Threshold::AtMost(COUNT_GROWTH_MAX))?;
    record(
        "soak",
        format!("{name}: in flight, median"),
        median(&series(|sample| sample.in_flight)),
        "",
        Threshold::Informational,
    )?;
    let flat = slope * seconds <= RSS_GROWTH_MAX_MIB && files <= COUNT_GROWTH_MAX && threads <= COUNT_GROWTH_MAX;
    writeln!(std::io::stdout(), "{}", if flat { "flat" } else { "not flat" })?;
    ensure!(flat, "memory, open files and threads must not grow under a steady load");
    Ok(())
}

/// Slope of the least-squares line, per sample.
fn slope(values: &[f64]) -> f64 {
    let points = || {
        values.iter().scan(0.0, |index, value| {
            *index += 1.0;
            Some((*index, *value))
        })
    };
    let count = points().map(|_| 1.0).sum::<f64>().max(1.0);
    let mean = |coordinate: fn((f64, f64)) -> f64| points().map(coordinate).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|(x, _)| x), mean(|(_, y)| y));
    let covered: f64 = points().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let spread: f64 = points().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if spread > 0.0 { covered / spread } else { 0.0 }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_has_a_slope_and_noise_has_none() {
        let leak: Vec<f64> = (0..100_u32).map(|second| 50.0 + 0.5 * f64::from(second)).collect();
        assert!((slope(&leak) - 0.5).abs() < 1e-9);
        let noise: Vec<f64> = (0..100_u32).map(|second| 50.0 + f64::from(second % 2)).collect();
        assert!(slope(&noise).abs() < 0.01);
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }
}
