//! The supervisor of a category: it activates, restarts and passivates agents.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use greenroom_protocol::ContentHash;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use super::handle::CategoryHandle;
use super::message::CategoryMsg;
use crate::agent::{AgentActor, AgentMsg, ExecutionJob, HostedAgent};
use crate::observer::ActorEvent;
use crate::supervision::{ChildDriver, ChildEvent, ChildKind, ChildMsg};

/// The children of a category.
type Agents = ChildDriver<ContentHash, ExecutionJob, AgentMsg>;

/// The actor that supervises the agents of one category.
pub(super) struct CategorySupervisor {
    handle: CategoryHandle,
}

impl CategoryHandle {
    /// Starts the supervisor of this category, linked to `parent`.
    ///
    /// # Errors
    /// The error of ractor, if the parent is stopping.
    pub async fn start_supervisor(&self, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let supervisor = CategorySupervisor { handle: self.clone() };
        let (actor, _) = Actor::spawn_linked(None, supervisor, (), parent).await?;
        Ok(actor.get_cell())
    }
}

impl Actor for CategorySupervisor {
    type Msg = CategoryMsg;
    type State = Agents;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<CategoryMsg>, (): ()) -> Result<Agents, ActorProcessingErr> {
        let inner = &self.handle.inner;
        let observer = Arc::clone(&inner.env.observer);
        let mut agents = ChildDriver::new(ChildKind::Agent, inner.config.restart_policy, observer);
        agents.start_ticks(myself, inner.config.tick_interval);
        Ok(agents)
    }

    async fn post_start(&self, myself: ActorRef<CategoryMsg>, agents: &mut Agents) -> Result<(), ActorProcessingErr> {
        *self.handle.inner.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(myself.clone());
        // The agents of a failed supervisor have stopped with it, and the jobs in their queues still wait.
        for hosted in self.handle.hosted_agents() {
            hosted.queue().expect_restart();
            self.activate(&myself, agents, hosted).await?;
        }
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<CategoryMsg>,
        message: CategoryMsg,
        agents: &mut Agents,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CategoryMsg::Activate(hosted) => self.activate(&myself, agents, hosted).await?,
            CategoryMsg::Agent(ChildMsg::Start(version)) => {
                if let Some(hosted) = self.handle.find_hosted(&version) {
                    self.activate(&myself, agents, hosted).await?;
                }
            }
            CategoryMsg::Agent(ChildMsg::Tick) => self.on_tick(&myself, agents),
            CategoryMsg::Agent(ChildMsg::KillTimedOut(agent)) => agents.on_kill_timeout(&myself, &agent)?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<CategoryMsg>,
        event: SupervisionEvent,
        agents: &mut Agents,
    ) -> Result<(), ActorProcessingErr> {
        agents.on_child_event(&myself, ChildEvent::from_event(event))
    }
}

impl CategorySupervisor {
    async fn activate(
        &self,
        myself: &ActorRef<CategoryMsg>,
        agents: &mut Agents,
        hosted: Arc<HostedAgent>,
    ) -> Result<(), ActorProcessingErr> {
        let inner = &self.handle.inner;
        if inner.closing.load(Ordering::Acquire) {
            drop(hosted.queue().close());
            return Ok(());
        }
        let (version, queue) = (hosted.agent().hash(), Arc::clone(hosted.queue()));
        let (env, parent) = (Arc::clone(&inner.env), myself.get_cell());
        let started_at = Instant::now();
        if agents.start(myself, version, queue, || AgentActor::start_linked(hosted, env, parent)).await? {
            inner.env.observer.on_event(ActorEvent::ActivationTimed { elapsed: started_at.elapsed() });
        }
        Ok(())
    }

    fn on_tick(&self, myself: &ActorRef<CategoryMsg>, agents: &mut Agents) {
        agents.kill_stalled(myself);
        for agent in agents.active() {
            // The exit of a stopped agent is reported by its event.
            let _ = agent.send_message(AgentMsg::CheckIdle(self.handle.inner.config.idle_timeout));
        }
        agents.evict();
        self.handle.evict_idle();
    }
}
