//! What an idle agent weighs, and what seating one costs beside a bare actor.

use std::time::{Duration, Instant};

use anyhow::ensure;
use greenroom_client::client::Work;
use greenroom_integration_tests::bench::{Bar, Latencies, memory, record};
use greenroom_integration_tests::house::{Keeps, rent, text};
use greenroom_integration_tests::stagehand::Stagehand;
use greenroom_protocol::{AgentId, Status};
use greenroom_supervisor::compose::Extras;
use ractor::{Actor, ActorProcessingErr, ActorRef};

/// Agents that are seated.
const AGENTS: usize = 5_000;

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let bare = bare_spawns(AGENTS).await?;
        idle(bare).await
    })
}

/// Seats every agent once and reads what the process has grown by.
async fn idle(bare: Duration) -> anyhow::Result<()> {
    let definitions = tempfile::tempdir()?;
    let stagehand = Stagehand::new(definitions.path())?;
    stagehand.many_agents(AGENTS)?;
    let rented = rent(Keeps::Memory, Some(stagehand.dir()), Extras::default()).await?;
    let client = rented.admin()?;
    let agents: Vec<AgentId> =
        (0..AGENTS).map(|number| AgentId::new(format!("generated_{number:03}_agent"))).collect::<Result<_, _>>()?;
    // Half of them warm up what is not an agent: allocator, usage windows, audit.
    let (warm, measured) = agents.split_at(AGENTS / 2);
    seat(&client, warm).await?;
    let before = memory()?.resident;
    let took = seat(&client, measured).await?;
    let grown = (memory()?.resident - before).max(0.0) * 1024.0 / measured.len() as f64;
    record("idle", format!("an idle agent, of {}", measured.len()), grown, "KiB", Bar::AtMost(16.0))?;
    // The second call of a seated agent is the same request without the seating.
    let again = seat(&client, measured).await?;
    let seating = took.saturating_sub(again);
    let ratio = seating.as_secs_f64() / bare.as_secs_f64();
    record("idle", "seating an agent ÷ a bare spawn_linked", ratio, "×", Bar::AtMost(2.0))?;
    record("idle", "a bare spawn_linked, p50", bare.as_secs_f64() * 1e6, "µs", Bar::Told)?;
    rented.house.shutdown().await;
    Ok(())
}

/// Calls each agent once, one after the other; answers the median.
async fn seat(client: &greenroom_client::Client, agents: &[AgentId]) -> anyhow::Result<Duration> {
    let mut took = Vec::with_capacity(agents.len());
    for agent in agents {
        let began = Instant::now();
        let reply = client.run_agent(agent.clone(), Work { inputs: text("x"), ..Work::default() }).await?;
        took.push(began.elapsed());
        ensure!(reply.status == Status::Success, "{:?}", reply.error);
    }
    Ok(took.into_iter().collect::<Latencies>().quantile(0.5))
}

struct Parent;
struct Child;
enum Never {}
impl ractor::Message for Never {}

impl Actor for Parent {
    type Msg = Never;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Never>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl Actor for Child {
    type Msg = Never;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Never>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// The median of bare spawns under a parent.
async fn bare_spawns(count: usize) -> anyhow::Result<Duration> {
    let (parent, _) = Actor::spawn(None, Parent, ()).await?;
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        Actor::spawn_linked(None, Child, (), parent.get_cell()).await?;
        took.push(began.elapsed());
    }
    parent.stop(None);
    Ok(took.into_iter().collect::<Latencies>().quantile(0.5))
}
