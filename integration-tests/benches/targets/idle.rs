//! Measures the memory of an idle agent, and the cost of an activation compared with a bare actor's spawn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use greenroom_actors::observer::{ActorEvent, Observer};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::bench::{Latencies, Threshold, memory, record};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::root_actor::RootActor;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod, text};
use greenroom_protocol::{AgentId, Status};
use greenroom_supervisor::compose::Overrides;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};

/// Agents that are activated.
const AGENTS: usize = 5_000;

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(idle())
}

/// Activates every agent once, spawns as many bare actors, and reads the growth of the process.
async fn idle() -> anyhow::Result<()> {
    let definitions = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(definitions.path())?;
    definitions_dir.write_many_agents(AGENTS)?;
    let activation_times = Arc::new(ActivationTimes::default());
    let overrides = Overrides { observer: Some(activation_times.clone()), ..Overrides::default() };
    let test_pod = start_pod(StoreKind::Memory, Some(definitions_dir.dir()), overrides).await?;
    let name = format!("an idle pod with {AGENTS} definitions, no agent active");
    record("idle", name, memory()?.resident, "MiB", Threshold::Informational)?;
    let client = test_pod.admin()?;
    let agents: Vec<AgentId> =
        (0..AGENTS).map(|number| AgentId::new(format!("generated_{number:03}_agent"))).collect::<Result<_, _>>()?;
    // The first half warms up everything that is not an agent: allocator, usage windows, audit.
    let (warm, measured) = agents.split_at(AGENTS / 2);
    let parent = RootActor::start().await?;
    let mut bare = Vec::with_capacity(warm.len());
    for agent in warm {
        activate(&client, agent).await?;
        bare.push(bare_spawn(&parent).await?);
    }
    let before = memory()?.resident;
    for agent in measured {
        activate(&client, agent).await?;
    }
    let growth_kib = (memory()?.resident - before).max(0.0) * 1024.0 / measured.len() as f64;
    drop(parent);
    record("idle", format!("an idle agent, of {}", measured.len()), growth_kib, "KiB", Threshold::AtMost(16.0))?;
    let activations: Latencies = activation_times.first(warm.len());
    ensure!(activations.count() == warm.len(), "{} activations were timed, not {}", activations.count(), warm.len());
    let bare: Latencies = bare.into_iter().collect();
    let ratio = activations.micros(0.5) / bare.micros(0.5);
    record(
        "idle",
        "activating an agent ÷ a bare spawn_linked, p50 of each, alternating",
        ratio,
        "×",
        Threshold::AtMost(2.0),
    )?;
    record(
        "idle",
        "  activating an agent: spawned, linked, registered, attached to its queue",
        activations.micros(0.5),
        "µs",
        Threshold::Informational,
    )?;
    record("idle", "  a bare spawn_linked", bare.micros(0.5), "µs", Threshold::Informational)?;
    test_pod.pod.shutdown().await;
    Ok(())
}

/// Records the activation times that the categories report to their observer.
#[derive(Default)]
struct ActivationTimes {
    durations: Mutex<Vec<Duration>>,
}

impl ActivationTimes {
    /// The first `count` of them.
    fn first(&self, count: usize) -> Latencies {
        self.durations.lock().unwrap_or_else(PoisonError::into_inner).iter().take(count).copied().collect()
    }
}

impl Observer for ActivationTimes {
    fn on_event(&self, event: ActorEvent) {
        if let ActorEvent::ActivationTimed { elapsed } = event {
            self.durations.lock().unwrap_or_else(PoisonError::into_inner).push(elapsed);
        }
    }
}

async fn activate(client: &Client, agent: &AgentId) -> anyhow::Result<()> {
    let reply = client.run_agent(agent.clone(), CallParams { inputs: text("x"), ..CallParams::default() }).await?;
    ensure!(reply.status == Status::Success, "{:?}", reply.error);
    Ok(())
}

struct Child;
enum Never {}
impl ractor::Message for Never {}

/// The same fields as the state of an agent's actor without executions.
#[derive(Default)]
struct ActorState {
    _executions: HashMap<u64, Duration>,
    _tasks: HashMap<u64, u64>,
}

impl Actor for Child {
    type Msg = Never;
    type State = ActorState;
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Never>, (): ()) -> Result<ActorState, ActorProcessingErr> {
        Ok(ActorState::default())
    }
}

/// Times one bare spawn under a parent.
async fn bare_spawn(parent: &RootActor) -> anyhow::Result<Duration> {
    let cell = parent.cell();
    // A task of the runtime spawns it, as a category spawns its agents.
    let spawning = tokio::spawn(async move {
        let started_at = Instant::now();
        Actor::spawn_linked(None, Child, (), cell).await?;
        Ok::<_, SpawnErr>(started_at.elapsed())
    });
    Ok(spawning.await??)
}
