//! The actor of one version of one agent: a flat match over its messages.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{AgentId, Cause, Code, Outcome, Status};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::running::Core;
use super::{AgentSeat, Done, ExecutionId, Failure, Job};
use crate::concurrency::Place;
use crate::execution::invocation::Tab;
use crate::execution::{self, Backstage};
use crate::observer::Observed;
use crate::supervision::{Ended, Exit, LinkedTasks, Wakes};

/// Jobs that are begun in one go before the actor looks at its other messages.
const BATCH: usize = 256;

/// What an agent's actor is told.
pub enum AgentMsg {
    /// Work lies in the slot.
    Wake,
    /// An execution has ended.
    Ended(ExecutionId, Ended<Result<greenroom_protocol::Values, Cause>>),
    /// Nobody waits for this execution any more.
    Abandoned(ExecutionId),
    /// A while has passed; whoever is idle for this long may leave.
    Tick(Duration),
    /// Tell of yourself.
    Observe(RpcReplyPort<AgentSight>),
}

impl ractor::Message for AgentMsg {}

impl Wakes for AgentMsg {
    fn wake() -> Self {
        Self::Wake
    }
}

/// What an agent's actor tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentSight {
    /// Which agent.
    pub agent: AgentId,
    /// Executions under way.
    pub running: usize,
    /// Executions begun since it was seated.
    pub begun: u64,
}

/// One execution under way.
struct Running {
    port: oneshot::Sender<Done>,
    tab: Tab,
    _place: Place,
}

/// What an agent's actor holds.
pub struct AgentState {
    core: Core<ExecutionId, Running>,
    tasks: LinkedTasks<ExecutionId>,
}

/// The actor of one version of one agent.
pub struct AgentActor {
    seat: Arc<AgentSeat>,
    backstage: Arc<Backstage>,
}

impl AgentActor {
    /// Spawns the actor of a seat under `parent`; the parent's roster seats it.
    ///
    /// # Errors
    /// What ractor says, if the parent is stopping.
    pub async fn spawn_under(
        seat: Arc<AgentSeat>,
        backstage: Arc<Backstage>,
        parent: ActorCell,
    ) -> Result<ActorRef<AgentMsg>, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Self { seat, backstage }, (), parent).await?;
        Ok(actor)
    }
}

impl Actor for AgentActor {
    type Msg = AgentMsg;
    type State = AgentState;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<AgentMsg>, (): ()) -> Result<AgentState, ActorProcessingErr> {
        self.backstage.observer.saw(Observed::AgentSeated(self.seat.agent.id().clone()));
        Ok(AgentState { core: Core::new(Instant::now()), tasks: LinkedTasks::default() })
    }

    async fn handle(
        &self,
        myself: ActorRef<AgentMsg>,
        message: AgentMsg,
        state: &mut AgentState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AgentMsg::Wake => self.take_work(&myself, state)?,
            AgentMsg::Ended(id, ended) => self.finish(state, id, ended),
            AgentMsg::Abandoned(id) => self.abandon(state, id),
            AgentMsg::Tick(idle_max) => self.leave_if_idle(&myself, state, idle_max),
            // Who has gone away does not need to know.
            AgentMsg::Observe(port) => drop(port.send(self.sight(state))),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<AgentMsg>,
        event: SupervisionEvent,
        _: &mut AgentState,
    ) -> Result<(), ActorProcessingErr> {
        // An agent has no children; the event is read so that ractor's default does not stop it.
        let _ = Exit::read(event);
        Ok(())
    }
}

impl Drop for AgentActor {
    fn drop(&mut self) {
        // However the actor ended, this is when it has left its seat.
        self.backstage.observer.saw(Observed::AgentLeft(self.seat.agent.id().clone()));
    }
}

impl AgentActor {
    fn take_work(&self, myself: &ActorRef<AgentMsg>, state: &mut AgentState) -> Result<(), ActorProcessingErr> {
        for _ in 0..BATCH {
            match self.seat.slot.take() {
                Some(job) => self.begin(myself, state, job),
                None => return Ok(()),
            }
        }
        Ok(myself.send_message(AgentMsg::Wake)?)
    }

    fn begin(&self, myself: &ActorRef<AgentMsg>, state: &mut AgentState, job: Job) {
        let Job { id, assignment, place, port } = job;
        if port.is_closed() {
            return;
        }
        let now = self.backstage.clock.now();
        let left = assignment.grant.deadline().left(now).min(self.seat.agent.timeout());
        let tab = Tab::default();
        let work = execution::perform(Arc::clone(&self.backstage), assignment, tab.clone());
        state.core.begin(id, Running { port, tab, _place: place }, Instant::now());
        let me = myself.clone();
        state.tasks.link(id, left, work, move |ended| {
            // If the actor is dead, so is everybody's port.
            let _ = me.send_message(AgentMsg::Ended(id, ended));
        });
    }

    fn finish(&self, state: &mut AgentState, id: ExecutionId, ended: Ended<Result<greenroom_protocol::Values, Cause>>) {
        state.tasks.ended(&id);
        let Some((elapsed, running)) = state.core.finish(id, Instant::now()) else { return };
        let agent = self.seat.agent.id();
        let result = match ended {
            Ended::Done(result) => result,
            Ended::TimedOut => {
                Err(Cause::new(Code::TimedOut, format!("{agent} was not done within its timeout and the deadline")))
            }
            Ended::Panicked(said) => {
                // What a panic says may quote its input, so only the log has it, and only as debug.
                tracing::error!(agent.id = agent.as_str(), "execution panicked");
                tracing::debug!(agent.id = agent.as_str(), panic.message = %said, "execution panicked");
                Err(Cause::new(Code::AgentCrashed, format!("{agent} panicked")))
            }
        };
        let usage = running.tab.total();
        let (status, code) = match &result {
            Ok(_) => (Status::Success, None),
            Err(cause) => (Status::of(cause), Some(cause.code)),
        };
        self.observe(elapsed, status, code, &usage);
        let done = match result {
            Ok(outputs) => Ok(Outcome { outputs, usage }),
            Err(cause) => Err(Failure { cause, usage }),
        };
        // Who has gone away does not need the result.
        let _ = running.port.send(done);
    }

    fn abandon(&self, state: &mut AgentState, id: ExecutionId) {
        state.tasks.abort(&id);
        if let Some((elapsed, running)) = state.core.finish(id, Instant::now()) {
            self.observe(elapsed, Status::Cancelled, Some(Code::Cancelled), &running.tab.total());
        }
    }

    fn observe(&self, elapsed: Duration, status: Status, code: Option<Code>, usage: &greenroom_protocol::reply::Usage) {
        let agent = self.seat.agent.spec();
        self.backstage.observer.saw(Observed::Executed {
            agent: agent.agent_id.clone(),
            category: agent.category.clone(),
            elapsed,
            status,
            code,
            tokens: usage.tokens,
            model: usage.model.clone(),
        });
    }

    fn leave_if_idle(&self, myself: &ActorRef<AgentMsg>, state: &AgentState, idle_max: Duration) {
        if state.core.idle_for(idle_max, Instant::now()) && self.seat.slot.retire(myself.get_id()) {
            myself.stop(None);
        }
    }

    fn sight(&self, state: &AgentState) -> AgentSight {
        AgentSight { agent: self.seat.agent.id().clone(), running: state.core.running(), begun: state.core.begun() }
    }
}
