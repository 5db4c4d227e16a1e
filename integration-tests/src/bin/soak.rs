//! A steady load over the whole pipeline, for a while: `soak [SECONDS] [REQUESTS_PER_SECOND]`.
//!
//! Agents, workflows, a scripted model, denials, unknown names and cancelled runs come in an open loop;
//! memory, open files, threads and what is under way are sampled each second. Ends with 1 if one of
//! them does not stay flat. The rule: behind a warm-up of a third, in which the caches of the database fill, the line of
//! least squares through the samples may rise by [`RSS_GROWTH_MAX_MIB`] over the measured time, and the
//! medians of the last fifth of open files and threads by [`COUNT_GROWTH_MAX`] over those of the first.

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

/// Where nothing is said.
const SECONDS: u64 = 600;
const REQUESTS_PER_SECOND: u64 = 100;
/// Milliseconds that the scripted model thinks.
const THINKS_MS: u64 = 50;
/// Between two arrivals of a batch.
const TICK: Duration = Duration::from_millis(100);
/// Requests under way at one time; a steady load far from overload stays far below.
const UNDER_WAY_MAX: usize = 2_000;
/// MiB by which memory may rise over the measured time, and files and threads by how many.
const RSS_GROWTH_MAX_MIB: f64 = 8.0;
const COUNT_GROWTH_MAX: f64 = 8.0;

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let mut number = |otherwise| words.next().map_or(Ok(otherwise), |word| word.parse::<u64>());
    let (seconds, rate) = (number(SECONDS)?, number(REQUESTS_PER_SECOND)?);
    ensure!(seconds >= 30, "a soak of less than 30 s says nothing");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let samples = runtime.block_on(soak(Duration::from_secs(seconds), rate))?;
    told(&samples, rate)
}

/// What was there at one second.
#[derive(Debug, Clone, Copy)]
struct Sample {
    rss_mib: f64,
    files: f64,
    threads: f64,
    inside: f64,
}

impl Sample {
    fn now(rented: &TestPod) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
        let files = u32::try_from(std::fs::read_dir("/proc/self/fd")?.count())?;
        let inside = u32::try_from(rented.pod.in_flight())?;
        let threads = threads.context("the number of threads")?;
        Ok(Self { rss_mib: memory()?.resident, files: files.into(), threads, inside: inside.into() })
    }
}

async fn pod() -> anyhow::Result<(TestPod, tempfile::TempDir)> {
    let definitions = tempfile::tempdir()?;
    let stagehand = DefinitionsDir::new(definitions.path())?;
    stagehand.echo_agent("echo_agent")?;
    stagehand.model_agent("thinking_agent", "scripted.slow")?;
    stagehand.row_workflow("thinking_in_a_row", "thinking_agent", 3)?;
    let usage = Some(Tokens { input: 100, output: 10 });
    let call = ScriptedCall { delay_ms: THINKS_MS, reply: ScriptedReply::Blank, usage, ..ScriptedCall::default() };
    let scripted = Arc::new(Scripted::new(Script { calls: vec![call] }));
    let extras = Overrides { providers: vec![scripted], ..Overrides::default() };
    Ok((start_pod(StoreKind::Full, Some(stagehand.dir()), extras).await?, definitions))
}

/// One arrival; which kind follows from its number, so that every soak has the same mixture.
async fn arrive(admin: Client, guest: Client, number: u64) -> anyhow::Result<()> {
    let work = || CallParams { inputs: text("a small document"), ..CallParams::default() };
    match number % 20 {
        0..=11 => expect(admin.run_agent(AgentId::new("echo_agent")?, work()).await?.status, Status::Success),
        12..=15 => expect(admin.run_agent(AgentId::new("thinking_agent")?, work()).await?.status, Status::Success),
        16 => {
            let workflow = WorkflowId::new("thinking_in_a_row")?;
            expect(admin.run_workflow(workflow, work()).await?.status, Status::Success)
        }
        17 => expect(guest.run_agent(AgentId::new("echo_agent")?, work()).await?.status, Status::Denied),
        18 => {
            let reply = admin.run_agent(AgentId::new("nobody_knows_this_agent")?, work()).await?;
            ensure!(reply.error.as_ref().is_some_and(|cause| cause.code == ErrorCode::UnknownAgent), "{reply:?}");
            Ok(())
        }
        _ => {
            let detached = CallParams { detach: true, ..work() };
            let reply = admin.run_workflow(WorkflowId::new("thinking_in_a_row")?, detached).await?;
            ensure!(reply.error.is_none(), "{reply:?}");
            let cancelled = admin.cancel(RunId::new(reply.id)?).await?;
            // On a busy machine the run may have ended first.
            let ended = cancelled.error.as_ref().is_none_or(|cause| cause.code == ErrorCode::RunNotActive);
            ensure!(ended, "{cancelled:?}");
            Ok(())
        }
    }
}

fn expect(found: Status, wanted: Status) -> anyhow::Result<()> {
    ensure!(found == wanted, "{found:?} instead of {wanted:?}");
    Ok(())
}

async fn soak(length: Duration, rate: u64) -> anyhow::Result<Vec<Sample>> {
    let (rented, _definitions) = pod().await?;
    let (admin, guest) = (rented.admin()?, rented.pod.client(&UserId::new("guest")?));
    let (mut arrivals, mut looks) = (interval(TICK), interval(Duration::from_secs(1)));
    arrivals.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut under_way, mut samples, mut number) = (FuturesUnordered::new(), Vec::new(), 0_u64);
    let until = Instant::now() + length;
    let mut owed = 0;
    while Instant::now() < until {
        tokio::select! {
            _ = arrivals.tick() => {
                owed += rate;
                while owed >= 10 {
                    owed -= 10;
                    under_way.push(arrive(admin.clone(), guest.clone(), number));
                    number += 1;
                }
                ensure!(under_way.len() <= UNDER_WAY_MAX, "{} are under way: the load is no steady one", under_way.len());
            }
            _ = looks.tick() => samples.push(Sample::now(&rented)?),
            Some(ended) = under_way.next() => ended?,
        }
    }
    while let Some(ended) = under_way.next().await {
        ended?;
    }
    let verdict = rented.pod.stores().audit.verify().await?;
    ensure!(verdict.is_valid(), "{verdict:?}");
    writeln!(std::io::stdout(), "{number} requests in {length:?}, {} records in the audit", verdict.records)?;
    rented.pod.shutdown().await;
    Ok(samples)
}

/// Says what was measured, and fails if it is not flat.
fn told(samples: &[Sample], rate: u64) -> anyhow::Result<()> {
    let warm = samples.get(samples.len() / 3..).context("samples")?;
    let of = |what: fn(&Sample) -> f64| warm.iter().map(what).collect::<Vec<f64>>();
    let rss = of(|sample| sample.rss_mib);
    let (slope, seconds) = (slope(&rss), rss.iter().map(|_| 1.0).sum::<f64>());
    let growth = |counts: &[f64]| -> f64 {
        let fifth = (counts.len() / 5).max(1);
        let first = counts.get(..fifth).map(median);
        let last = counts.get(counts.len() - fifth..).map(median);
        last.unwrap_or_default() - first.unwrap_or_default()
    };
    let (files, threads) = (growth(&of(|sample| sample.files)), growth(&of(|sample| sample.threads)));
    let name = format!("{rate} requests/s for {} s", samples.len());
    record("soak", format!("{name}: memory, median"), median(&rss), "MiB", Threshold::Informational)?;
    record("soak", format!("{name}: memory's slope"), slope * 60.0, "MiB/min", Threshold::Informational)?;
    record("soak", format!("{name}: memory's rise"), slope * seconds, "MiB", Threshold::AtMost(RSS_GROWTH_MAX_MIB))?;
    record("soak", format!("{name}: more open files"), files, "", Threshold::AtMost(COUNT_GROWTH_MAX))?;
    record("soak", format!("{name}: more threads"), threads, "", Threshold::AtMost(COUNT_GROWTH_MAX))?;
    record(
        "soak",
        format!("{name}: under way, median"),
        median(&of(|sample| sample.inside)),
        "",
        Threshold::Informational,
    )?;
    let flat = slope * seconds <= RSS_GROWTH_MAX_MIB && files <= COUNT_GROWTH_MAX && threads <= COUNT_GROWTH_MAX;
    writeln!(std::io::stdout(), "{}", if flat { "flat" } else { "not flat" })?;
    ensure!(flat, "what a steady load holds must not grow");
    Ok(())
}

/// The rise of the line of least squares, for each sample.
fn slope(values: &[f64]) -> f64 {
    let numbered = || {
        values.iter().scan(0.0, |place, value| {
            *place += 1.0;
            Some((*place, *value))
        })
    };
    let count = numbered().map(|_| 1.0).sum::<f64>().max(1.0);
    let mean = |of: fn((f64, f64)) -> f64| numbered().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|(x, _)| x), mean(|(_, y)| y));
    let covered: f64 = numbered().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let spread: f64 = numbered().map(|(x, _)| (x - mean_x).powi(2)).sum();
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
