//! The category's actor: a child table and a tick.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use greenroom_protocol::ContentHash;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::time::Instant;

use super::CategoryHandle;
use crate::agent::{AgentActor, AgentMsg, ExecutionJob, HostedAgent};
use crate::observer::ActorEvent;
use crate::supervision::child_table::{ChildTable, KILL_TIMEOUT, SupervisorAction};
use crate::supervision::{ChildEvent, ChildKind, LinkedTasks, TaskOutcome};

/// Messages of a category.
pub(super) enum CategoryMsg {
    /// Activate this agent.
    Activate(Arc<HostedAgent>),
    /// Check for idle and stalled agents.
    Tick,
    /// A stalled agent could not be killed in time.
    KillTimedOut(ActorCell),
}

impl ractor::Message for CategoryMsg {}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Task {
    Ticks,
    Fill(ContentHash),
    Kill(ractor::ActorId),
}

/// State of a category.
struct CategoryState {
    roster: ChildTable<ContentHash, ExecutionJob, AgentMsg>,
    tasks: LinkedTasks<Task>,
}

/// The supervisor of one category.
pub struct CategorySupervisor {
    handle: CategoryHandle,
}

impl CategorySupervisor {
    /// Starts the actor of a category, linked to `parent`.
    ///
    /// # Errors
    /// The error of ractor, if the parent is stopping.
    pub async fn start_linked(handle: CategoryHandle, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, CategorySupervisorActor(Self { handle }), (), parent).await?;
        Ok(actor.get_cell())
    }
}

/// The actor behind [`CategorySupervisor`]; its messages are private to this module.
struct CategorySupervisorActor(CategorySupervisor);

impl Actor for CategorySupervisorActor {
    type Msg = CategoryMsg;
    type State = CategoryState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<CategoryMsg>, (): ()) -> Result<CategoryState, ActorProcessingErr> {
        let mut tasks = LinkedTasks::default();
        let tick = self.0.handle.inner.config.tick_interval;
        tasks.run_every(Task::Ticks, tick, move || myself.send_message(CategoryMsg::Tick).is_ok());
        Ok(CategoryState { roster: ChildTable::with_policy(self.0.handle.inner.config.restart_policy), tasks })
    }

    async fn post_start(
        &self,
        myself: ActorRef<CategoryMsg>,
        state: &mut CategoryState,
    ) -> Result<(), ActorProcessingErr> {
        *self.0.handle.inner.actor.lock().unwrap_or_else(PoisonError::into_inner) = Some(myself.clone());
        // The agents of a failed category have stopped with it, and the jobs in their queues still wait.
        for hosted in self.0.handle.hosted_agents() {
            hosted.queue().expect_restart();
            self.0.activate(&myself, state, hosted).await?;
        }
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<CategoryMsg>,
        message: CategoryMsg,
        state: &mut CategoryState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CategoryMsg::Activate(hosted) => self.0.activate(&myself, state, hosted).await?,
            CategoryMsg::Tick => self.0.tick(&myself, state),
            CategoryMsg::KillTimedOut(child) => self.0.unlink_stalled(&myself, state, &child)?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<CategoryMsg>,
        event: SupervisionEvent,
        state: &mut CategoryState,
    ) -> Result<(), ActorProcessingErr> {
        match ChildEvent::from_event(event) {
            ChildEvent::Ended { child, exit, reason } => {
                state.tasks.abort(&Task::Kill(child));
                tracing::debug!(child.kind = ChildKind::Agent.as_str(), child.exit = ?exit, child.reason = %reason, "child ended");
                let change = state.roster.on_exit(child, exit, Instant::now());
                self.0.apply(&myself, state, change)
            }
            ChildEvent::Started(_) | ChildEvent::Other => Ok(()),
        }
    }
}

impl CategorySupervisor {
    async fn activate(
        &self,
        myself: &ActorRef<CategoryMsg>,
        state: &mut CategoryState,
        hosted: Arc<HostedAgent>,
    ) -> Result<(), ActorProcessingErr> {
        if self.handle.inner.closing.load(Ordering::Acquire) {
            drop(hosted.queue().close());
            return Ok(());
        }
        let (key, queue) = (hosted.agent().hash(), Arc::clone(hosted.queue()));
        let (env, parent) = (Arc::clone(&self.handle.inner.env), myself.get_cell());
        let (started_at, mut needs_actor) = (std::time::Instant::now(), false);
        let spawn = || {
            needs_actor = true;
            AgentActor::start_linked(hosted, env, parent)
        };
        let change = state.roster.start(key, queue, spawn).await;
        if needs_actor && change == SupervisorAction::None {
            self.handle.inner.env.observer.on_event(ActorEvent::ActivationTimed { elapsed: started_at.elapsed() });
        }
        self.apply(myself, state, change)
    }

    /// Applies an action of the child table. An error terminates this supervisor.
    fn apply(
        &self,
        myself: &ActorRef<CategoryMsg>,
        state: &mut CategoryState,
        change: SupervisorAction<ContentHash>,
    ) -> Result<(), ActorProcessingErr> {
        let closing = self.handle.inner.closing.load(Ordering::Acquire);
        match change {
            SupervisorAction::None | SupervisorAction::Stopped(_) => Ok(()),
            SupervisorAction::RestartAfter { .. } if closing => Ok(()),
            SupervisorAction::RestartAfter { key, after, died } => {
                if died {
                    self.handle
                        .inner
                        .env
                        .observer
                        .on_event(ActorEvent::ChildRestarted { kind: ChildKind::Agent.as_str() });
                }
                self.activate_after(myself, state, key, after);
                Ok(())
            }
            SupervisorAction::CircuitOpened(key) => {
                tracing::error!(agent.version = %key, "agent exceeded its restart intensity, and its circuit is open");
                Ok(())
            }
            SupervisorAction::Escalate(key) | SupervisorAction::StopPod(key) => {
                Err(format!("agent {key} exceeded its restart intensity").into())
            }
        }
    }

    fn activate_after(
        &self,
        myself: &ActorRef<CategoryMsg>,
        state: &mut CategoryState,
        key: ContentHash,
        after: std::time::Duration,
    ) {
        let hosted = self.handle.inner.hosted.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let Some(hosted) = hosted else { return };
        let me = myself.clone();
        state.tasks.run_after(Task::Fill(key), after, move || {
            let _ = me.send_message(CategoryMsg::Activate(hosted));
        });
    }

    fn tick(&self, myself: &ActorRef<CategoryMsg>, state: &mut CategoryState) {
        let now = Instant::now();
        for child in state.roster.stalled(now) {
            tracing::error!(child.kind = ChildKind::Agent.as_str(), "child is stalled and will be killed");
            let (me, doomed) = (myself.clone(), child.clone());
            let kill = async move { child.kill_and_wait(Some(KILL_TIMEOUT)).await.is_ok() };
            state.tasks.spawn(Task::Kill(doomed.get_id()), 2 * KILL_TIMEOUT, kill, move |ended| {
                if ended != TaskOutcome::Completed(true) {
                    let _ = me.send_message(CategoryMsg::KillTimedOut(doomed));
                }
            });
        }
        for (_, agent) in state.roster.active() {
            // The exit of a stopped agent is reported by its event.
            let _ = agent.send_message(AgentMsg::CheckIdle(self.handle.inner.config.idle_timeout));
        }
        state.roster.evict(now);
        self.handle.evict_idle();
    }

    fn unlink_stalled(
        &self,
        myself: &ActorRef<CategoryMsg>,
        state: &mut CategoryState,
        child: &ActorCell,
    ) -> Result<(), ActorProcessingErr> {
        let change = state.roster.unlink(child, myself.get_cell(), Instant::now());
        if change != SupervisorAction::None {
            self.handle.inner.env.observer.on_event(ActorEvent::ChildAbandoned { kind: ChildKind::Agent.as_str() });
        }
        self.apply(myself, state, change)
    }
}
