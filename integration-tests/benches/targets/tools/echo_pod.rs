//! A pod with agents that return their input, and the times of their calls. It stores in SQLite with the default
//! durability; identity, policy and audit are those of every pod.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use greenroom_actors::model::ModelProvider;
use greenroom_actors::observer::{ActorEvent, Observer};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::bench::{Latencies, Threshold, record, scaled};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, test_config, text};
use greenroom_protocol::{AgentId, Json, Status, UserId};
use greenroom_registry::Stores;
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::Config;
use greenroom_supervisor::pod::Pod;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::GROUP;

/// The agent that is compiled in, to compare with.
const NATIVE: &str = "native_agent";
/// The category of all agents.
const CATEGORY: &str = "business_ops";
/// Calls of each agent that are not measured.
const WARM_UP: usize = 200;
/// Measured calls of each agent.
const CALLS: u64 = 4_000;
/// Calls in flight while the rate is measured.
const IN_FLIGHT: usize = 64;
/// Seconds for which the rate is measured.
const RATE_SECONDS: u64 = 10;
/// Bytes of the text of a call.
const TEXT_BYTES: usize = 1_024;

/// A text of 1 KiB that begins with this name.
pub(super) fn sized_text(name: &str) -> String {
    format!("{name:x<TEXT_BYTES$}")
}

/// The number of a call, and whether it is measured: the first ones are not.
pub(super) fn call_numbers() -> anyhow::Result<impl Iterator<Item = (usize, bool)>> {
    let count = WARM_UP + usize::try_from(scaled(CALLS))?;
    Ok((0..count).map(|number| (number, number >= WARM_UP)))
}

/// A unit of time, and the quantiles in it.
pub(super) struct Unit {
    name: &'static str,
    read: fn(&Latencies, f64) -> f64,
}

pub(super) const MILLIS: Unit = Unit { name: "ms", read: Latencies::millis };
pub(super) const MICROS: Unit = Unit { name: "µs", read: Latencies::micros };

/// How long one call took.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallTime {
    /// For its caller.
    pub(super) total: Duration,
    /// The execution alone, within the pod: after identity, policy and audit, and before the reply.
    execution: Duration,
}

/// How long calls of one agent took.
#[derive(Debug, Default)]
pub(super) struct CallTimes(Vec<CallTime>);

impl CallTimes {
    pub(super) fn push(&mut self, time: CallTime) {
        self.0.push(time);
    }

    pub(super) fn totals(&self) -> Latencies {
        self.0.iter().map(|time| time.total).collect()
    }

    pub(super) fn executions(&self) -> Latencies {
        self.0.iter().map(|time| time.execution).collect()
    }
}

/// Records by how much a call of an agent takes longer than one of the native agent, and both.
pub(super) fn record_added(
    name: &str,
    unit: &Unit,
    (agent, native): (&CallTimes, &CallTimes),
    threshold: Threshold,
) -> anyhow::Result<()> {
    let p50 = |times: &Latencies| (unit.read)(times, 0.5);
    let added = |agent: &Latencies, native: &Latencies| p50(agent) - p50(native);
    let (totals, native_totals) = (agent.totals(), native.totals());
    record(GROUP, format!("{name}: added to a call, warm, p50"), added(&totals, &native_totals), unit.name, threshold)?;
    let rows = [
        ("of it, by the execution within the pod, p50", added(&agent.executions(), &native.executions())),
        ("the whole call, p50", p50(&totals)),
        ("the whole call, p99", (unit.read)(&totals, 0.99)),
        ("the whole call of the native agent, p50", p50(&native_totals)),
    ];
    for (row, measured) in rows {
        record(GROUP, format!("  {name}: {row}"), measured, unit.name, Threshold::Informational)?;
    }
    Ok(())
}

/// What a pod is started from.
pub(super) struct PodFolder {
    folder: TempDir,
    pub(super) definitions: DefinitionsDir,
}

impl PodFolder {
    /// A folder with the native agent.
    pub(super) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
        definitions.write_echo_agent(NATIVE)?;
        Ok(Self { folder, definitions })
    }

    /// Creates a folder in it.
    pub(super) fn create(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// Writes an agent with one text input, one text output and these lines of its implementation.
    pub(super) fn write_agent(&self, id: &str, implementation: &str) -> anyhow::Result<()> {
        self.definitions.write_agent(id, CATEGORY, implementation)
    }

    /// Starts the pod, with changed settings.
    pub(super) async fn start(
        self,
        providers: Vec<Arc<dyn ModelProvider>>,
        change: impl FnOnce(&mut Config),
    ) -> anyhow::Result<EchoPod> {
        let Self { folder, definitions } = self;
        let mut config = test_config(folder.path(), StoreKind::Full, Some(definitions.dir()))?;
        change(&mut config);
        let executions = Arc::new(ExecutionTimes::default());
        let overrides = Overrides { providers, observer: Some(executions.clone()), ..Overrides::default() };
        let composing = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides);
        let pod = Box::pin(composing).await.context("the pod cannot be assembled")?;
        let client = pod.client(&UserId::new("admin")?);
        Ok(EchoPod { pod, client, executions, native: AgentId::new(NATIVE)?, _folder: folder })
    }
}

/// The pod.
pub(super) struct EchoPod {
    pod: Pod,
    client: Client,
    executions: Arc<ExecutionTimes>,
    native: AgentId,
    _folder: TempDir,
}

impl EchoPod {
    /// Calls an agent, which returns this text.
    pub(super) async fn call(&self, agent: &AgentId, value: &str) -> anyhow::Result<CallTime> {
        let total = call(&self.client, agent, value).await?;
        Ok(CallTime { total, execution: self.executions.last(agent).context("no execution was timed")? })
    }

    /// Its stores.
    pub(super) const fn stores(&self) -> &Stores {
        self.pod.stores()
    }

    /// A client for the administrator.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Calls the native agent.
    pub(super) async fn call_native(&self, value: &str) -> anyhow::Result<CallTime> {
        self.call(&self.native, value).await
    }

    /// Calls an agent and the native one alternately, so that what happens on the machine meanwhile affects both.
    pub(super) async fn alternate(&self, agent: &AgentId) -> anyhow::Result<(CallTimes, CallTimes)> {
        let (mut times, mut native) = (CallTimes::default(), CallTimes::default());
        for (number, is_measured) in call_numbers()? {
            let value = sized_text(&format!("{number}/"));
            let pair = (self.call(agent, &value).await?, self.call_native(&value).await?);
            if is_measured {
                times.push(pair.0);
                native.push(pair.1);
            }
        }
        Ok((times, native))
    }

    /// Records how many calls of an agent end in a second while some are in flight at any time.
    pub(super) async fn record_rate(&self, name: &str, agent: &AgentId, threshold: Threshold) -> anyhow::Result<()> {
        let duration = Duration::from_secs(scaled(RATE_SECONDS));
        let started_at = Instant::now();
        let mut callers = JoinSet::new();
        for caller in 0..IN_FLIGHT {
            let (client, agent) = (self.client.clone(), agent.clone());
            callers.spawn(async move {
                let mut durations = Vec::new();
                while started_at.elapsed() < duration {
                    let value = sized_text(&format!("{caller}/{}/", durations.len()));
                    durations.push(call(&client, &agent, &value).await?);
                }
                anyhow::Ok(durations)
            });
        }
        let mut durations = Vec::new();
        while let Some(of_caller) = callers.join_next().await {
            durations.extend(of_caller??);
        }
        let rate = durations.len() as f64 / started_at.elapsed().as_secs_f64();
        let times: Latencies = durations.into_iter().collect();
        let name = format!("{name}: calls, {IN_FLIGHT} in flight");
        record(GROUP, name.as_str(), rate, "/s", threshold)?;
        record(GROUP, format!("  {name}, p50"), times.millis(0.5), "ms", Threshold::Informational)?;
        record(GROUP, format!("  {name}, p99"), times.millis(0.99), "ms", Threshold::Informational)
    }

    /// Ends the pod.
    pub(super) async fn shutdown(self) {
        Box::pin(self.pod.shutdown()).await;
    }
}

/// Calls an agent, which returns this text, and returns the time that it took.
async fn call(client: &Client, agent: &AgentId, value: &str) -> anyhow::Result<Duration> {
    let params = CallParams { inputs: text(value), ..CallParams::default() };
    let started_at = Instant::now();
    let reply = client.run_agent(agent.clone(), params).await?;
    let elapsed = started_at.elapsed();
    ensure!(reply.status == Status::Success, "{agent}: {:?}", reply.error);
    let output = reply.outputs.get("text").and_then(Json::as_str);
    ensure!(output == Some(value), "{agent}: {value} was sent, {output:?} returned");
    Ok(elapsed)
}

/// The time of the last execution of each agent, as its actor reports it before it replies.
#[derive(Default)]
struct ExecutionTimes(Mutex<HashMap<AgentId, Duration>>);

impl ExecutionTimes {
    fn last(&self, agent: &AgentId) -> Option<Duration> {
        self.times().get(agent).copied()
    }

    fn times(&self) -> MutexGuard<'_, HashMap<AgentId, Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for ExecutionTimes {
    fn on_event(&self, event: ActorEvent) {
        if let ActorEvent::ExecutionEnded { agent, elapsed, .. } = event {
            self.times().insert(agent, elapsed);
        }
    }
}
