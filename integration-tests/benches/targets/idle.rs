//! What an idle agent weighs, and what seating one costs beside a bare actor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use greenroom_actors::observer::{ActorEvent, Observer};
use greenroom_client::Client;
use greenroom_client::client::CallParams;
use greenroom_integration_tests::bench::{Latencies, Threshold, memory, record};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod, text};
use greenroom_protocol::{AgentId, Status};
use greenroom_supervisor::compose::Overrides;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

/// Agents that are seated.
const AGENTS: usize = 5_000;

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(idle())
}

/// Seats every agent once, beside as many bare actors, and reads what the process has grown by.
async fn idle() -> anyhow::Result<()> {
    let definitions = tempfile::tempdir()?;
    let stagehand = DefinitionsDir::new(definitions.path())?;
    stagehand.many_agents(AGENTS)?;
    let seatings = Arc::new(ActivationTimes::default());
    let extras = Overrides { observer: Some(seatings.clone()), ..Overrides::default() };
    let rented = start_pod(StoreKind::Memory, Some(stagehand.dir()), extras).await?;
    let what = format!("an idle pod with {AGENTS} definitions, nobody seated");
    record("idle", what, memory()?.resident, "MiB", Threshold::Informational)?;
    let client = rented.admin()?;
    let agents: Vec<AgentId> =
        (0..AGENTS).map(|number| AgentId::new(format!("generated_{number:03}_agent"))).collect::<Result<_, _>>()?;
    // Half of them warm up what is not an agent: allocator, usage windows, audit.
    let (warm, measured) = agents.split_at(AGENTS / 2);
    let (parent, _) = Actor::spawn(None, Parent, ()).await?;
    let mut bare = Vec::with_capacity(warm.len());
    for agent in warm {
        seat(&client, agent).await?;
        bare.push(bare_spawn(&parent).await?);
    }
    let before = memory()?.resident;
    for agent in measured {
        seat(&client, agent).await?;
    }
    let grown = (memory()?.resident - before).max(0.0) * 1024.0 / measured.len() as f64;
    parent.stop(None);
    record("idle", format!("an idle agent, of {}", measured.len()), grown, "KiB", Threshold::AtMost(16.0))?;
    let seated: Latencies = seatings.taken(warm.len());
    ensure!(seated.count() == warm.len(), "{} seats were filled, not {}", seated.count(), warm.len());
    let bare: Latencies = bare.into_iter().collect();
    let ratio = seated.micros(0.5) / bare.micros(0.5);
    record(
        "idle",
        "seating an agent ÷ a bare spawn_linked, p50 of each, in turns",
        ratio,
        "×",
        Threshold::AtMost(2.0),
    )?;
    record(
        "idle",
        "  seating an agent: spawned, linked, on the roster, in its seat",
        seated.micros(0.5),
        "µs",
        Threshold::Informational,
    )?;
    record("idle", "  a bare spawn_linked", bare.micros(0.5), "µs", Threshold::Informational)?;
    rented.pod.shutdown().await;
    Ok(())
}

/// Keeps what the categories tell of their seats: how long the filling of each took.
#[derive(Default)]
struct ActivationTimes {
    took: Mutex<Vec<Duration>>,
}

impl ActivationTimes {
    /// The first ones.
    fn taken(&self, count: usize) -> Latencies {
        self.took.lock().unwrap_or_else(PoisonError::into_inner).iter().take(count).copied().collect()
    }
}

impl Observer for ActivationTimes {
    fn on_event(&self, what: ActorEvent) {
        if let ActorEvent::ActivationTimed { elapsed } = what {
            self.took.lock().unwrap_or_else(PoisonError::into_inner).push(elapsed);
        }
    }
}

async fn seat(client: &Client, agent: &AgentId) -> anyhow::Result<()> {
    let reply = client.run_agent(agent.clone(), CallParams { inputs: text("x"), ..CallParams::default() }).await?;
    ensure!(reply.status == Status::Success, "{:?}", reply.error);
    Ok(())
}

struct Parent;
struct Child;
enum Never {}
impl ractor::Message for Never {}

/// As much as an agent's actor holds when nothing is under way.
#[derive(Default)]
struct Held {
    _under_way: HashMap<u64, Duration>,
    _tasks: HashMap<u64, u64>,
}

impl Actor for Parent {
    type Msg = Never;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Never>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Never>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl Actor for Child {
    type Msg = Never;
    type State = Held;
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Never>, (): ()) -> Result<Held, ActorProcessingErr> {
        Ok(Held::default())
    }
}

/// How long one bare spawn under a parent takes.
async fn bare_spawn(parent: &ActorRef<Never>) -> anyhow::Result<Duration> {
    let cell = parent.get_cell();
    // In a task of the runtime, as a category spawns its agents.
    let spawning = tokio::spawn(async move {
        let began = Instant::now();
        Actor::spawn_linked(None, Child, (), cell).await?;
        Ok::<_, SpawnErr>(began.elapsed())
    });
    Ok(spawning.await??)
}
