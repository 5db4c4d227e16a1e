//! Loads of calls over a wire, from this process: closed loops with so many calls in flight, and open loops with so many
//! a second. The processor time of each process that takes part is read before and after.

use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_integration_tests::bench::{Latencies, Threshold, record};
use greenroom_integration_tests::process_time::processor_time;
use greenroom_integration_tests::wait::wait_until;
use tokio::task::JoinSet;

use crate::caller::Caller;

/// Longest time until a process is ready to be called.
const READY_MAX: Duration = Duration::from_secs(60);

/// Reads the processor time of a process.
type ReadTime = fn(&str) -> anyhow::Result<Duration>;

/// The processes that take part in a load, the load program among them.
pub(crate) struct Processes(Vec<(&'static str, String, ReadTime)>);

impl Processes {
    pub(crate) fn new() -> Self {
        Self(vec![("load program", "self".to_owned(), processor_time as ReadTime)])
    }

    pub(crate) fn with(self, name: &'static str, id: String) -> Self {
        self.with_time(name, id, processor_time)
    }

    /// Adds a process whose time another function reads.
    pub(crate) fn with_time(mut self, name: &'static str, id: String, read: ReadTime) -> Self {
        self.0.push((name, id, read));
        self
    }

    fn times(&self) -> anyhow::Result<Vec<Duration>> {
        self.0.iter().map(|(_, id, read)| read(id)).collect()
    }
}

/// What a load has measured.
#[derive(Default)]
pub(crate) struct Load {
    /// The durations of the calls that have succeeded.
    durations: Vec<Duration>,
    /// Calls that have failed.
    errors: u64,
    elapsed: Duration,
    /// Processor time, in the order of the processes.
    times: Vec<Duration>,
}

impl Load {
    pub(crate) fn per_second(&self) -> f64 {
        self.durations.len() as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn errors(&self) -> f64 {
        self.errors as f64
    }

    pub(crate) fn latencies(&self) -> Latencies {
        self.durations.iter().copied().collect()
    }

    /// Adds another load of the same kind, with the same processes.
    pub(crate) fn add(&mut self, other: Self) {
        self.durations.extend(other.durations);
        self.errors += other.errors;
        self.elapsed += other.elapsed;
        self.times.resize(other.times.len(), Duration::ZERO);
        for (time, added) in self.times.iter_mut().zip(other.times) {
            *time += added;
        }
    }

    /// Records rate, latency, errors and the processor time of each process. No load may have an error.
    pub(crate) fn record(&self, group: &str, name: &str, processes: &Processes) -> anyhow::Result<()> {
        let latencies = self.latencies();
        record(group, name, self.per_second(), "/s", Threshold::Informational)?;
        record(group, format!("  p50, {name}"), latencies.millis(0.5), "ms", Threshold::Informational)?;
        record(group, format!("  p99, {name}"), latencies.millis(0.99), "ms", Threshold::Informational)?;
        record(group, format!("  errors, {name}"), self.errors(), "", Threshold::AtMost(0.0))?;
        let seconds = self.elapsed.as_secs();
        for ((process, ..), time) in processes.0.iter().zip(&self.times) {
            let name = format!("  processor time of the {process} in {seconds} s, {name}");
            record(group, name, time.as_secs_f64(), "s", Threshold::Informational)?;
        }
        Ok(())
    }
}

/// Waits until a call succeeds.
pub(crate) async fn wait_ready(caller: &Caller) -> anyhow::Result<()> {
    wait_until("a call succeeds", READY_MAX, || async { caller.call("ready").await.ok() }).await
}

/// Keeps so many calls in flight for this time.
pub(crate) async fn closed_loop(
    caller: &Arc<Caller>,
    in_flight: usize,
    duration: Duration,
    processes: &Processes,
) -> anyhow::Result<Load> {
    let (before, started_at) = (processes.times()?, Instant::now());
    let mut loops = JoinSet::new();
    for number in 0..in_flight {
        let caller = Arc::clone(caller);
        loops.spawn(async move {
            let mut outcomes = Vec::new();
            while started_at.elapsed() < duration {
                let called_at = Instant::now();
                let called = caller.call(&format!("{number}/{}/", outcomes.len())).await;
                outcomes.push(called.map(|()| called_at.elapsed()));
            }
            outcomes
        });
    }
    let mut load = Load::default();
    while let Some(outcomes) = loops.join_next().await {
        outcomes?.into_iter().for_each(|outcome| load.count(outcome));
    }
    load.end(started_at, &before, processes)
}

/// Makes so many calls a second for this time; a call counts from the moment at which it was due.
pub(crate) async fn open_loop(
    caller: &Arc<Caller>,
    per_second: u64,
    duration: Duration,
    processes: &Processes,
) -> anyhow::Result<Load> {
    let (before, started_at) = (processes.times()?, tokio::time::Instant::now());
    let mut calls = JoinSet::new();
    for number in 0..per_second.saturating_mul(duration.as_secs()) {
        let due_at = started_at + Duration::from_micros(number * 1_000_000 / per_second);
        tokio::time::sleep_until(due_at).await;
        let caller = Arc::clone(caller);
        calls.spawn(async move {
            let called = caller.call(&format!("{number}/")).await;
            called.map(|()| due_at.elapsed())
        });
    }
    let mut load = Load::default();
    while let Some(outcome) = calls.join_next().await {
        load.count(outcome?);
    }
    load.end(started_at.into_std(), &before, processes)
}

impl Load {
    fn count(&mut self, outcome: anyhow::Result<Duration>) {
        match outcome {
            Ok(duration) => self.durations.push(duration),
            Err(error) => {
                if self.errors == 0 {
                    eprintln!("the first call that failed: {error:#}");
                }
                self.errors += 1;
            }
        }
    }

    fn end(self, started_at: Instant, before: &[Duration], processes: &Processes) -> anyhow::Result<Self> {
        let elapsed = started_at.elapsed();
        let times = processes.times()?.into_iter().zip(before).map(|(after, before)| after.saturating_sub(*before));
        Ok(Self { elapsed, times: times.collect(), ..self })
    }
}
