//! The actor of one version of one agent: a flat match over its messages.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{AgentId, Cause, ErrorCode, Outcome, Status};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::running::Core;
use super::{ExecutionFailure, ExecutionId, ExecutionJob, ExecutionResult, HostedAgent};
use crate::concurrency::ExecutionTicket;
use crate::execution::invocation::UsageMeter;
use crate::execution::{self, ExecutionEnv};
use crate::observer::ActorEvent;
use crate::supervision::{ChildEvent, LinkedTasks, TaskOutcome, WakeMessage};

/// Jobs that are begun in one go before the actor looks at its other messages.
const BATCH: usize = 256;

/// What an agent's actor is told.
pub enum AgentMsg {
    /// Work lies in the slot.
    Wake,
    /// An execution has ended.
    ExecutionEnded(ExecutionId, TaskOutcome<Result<greenroom_protocol::Values, Cause>>),
    /// Nobody waits for this execution any more.
    CallerGone(ExecutionId),
    /// A while has passed; whoever is idle for this long may leave.
    CheckIdle(Duration),
    /// Tell of yourself.
    GetInfo(RpcReplyPort<AgentInfo>),
}

impl ractor::Message for AgentMsg {}

impl WakeMessage for AgentMsg {
    fn wake() -> Self {
        Self::Wake
    }
}

/// What an agent's actor tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentInfo {
    /// Which agent.
    pub agent: AgentId,
    /// Executions under way.
    pub running: usize,
    /// Executions begun since it was seated.
    pub begun: u64,
}

/// One execution under way.
struct Running {
    port: oneshot::Sender<ExecutionResult>,
    meter: UsageMeter,
    _ticket: ExecutionTicket,
}

/// What an agent's actor holds.
pub struct AgentState {
    core: Core<ExecutionId, Running>,
    tasks: LinkedTasks<ExecutionId>,
}

/// The actor of one version of one agent.
pub struct AgentActor {
    hosted: Arc<HostedAgent>,
    env: Arc<ExecutionEnv>,
}

impl AgentActor {
    /// Spawns the actor of a seat under `parent`; the parent's roster seats it.
    ///
    /// # Errors
    /// What ractor says, if the parent is stopping.
    pub async fn start_linked(
        hosted: Arc<HostedAgent>,
        env: Arc<ExecutionEnv>,
        parent: ActorCell,
    ) -> Result<ActorRef<AgentMsg>, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, Self { hosted, env }, (), parent).await?;
        Ok(actor)
    }
}

impl Actor for AgentActor {
    type Msg = AgentMsg;
    type State = AgentState;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<AgentMsg>, (): ()) -> Result<AgentState, ActorProcessingErr> {
        self.env.observer.on_event(ActorEvent::AgentActivated(self.hosted.agent.id().clone()));
        Ok(AgentState { core: Core::new(Instant::now()), tasks: LinkedTasks::default() })
    }

    async fn handle(
        &self,
        myself: ActorRef<AgentMsg>,
        message: AgentMsg,
        state: &mut AgentState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AgentMsg::Wake => self.drain_queue(&myself, state)?,
            AgentMsg::ExecutionEnded(id, ended) => self.finish_execution(state, id, ended),
            AgentMsg::CallerGone(id) => self.abort_execution(state, id),
            AgentMsg::CheckIdle(idle_max) => self.passivate_if_idle(&myself, state, idle_max),
            // Who has gone away does not need to know.
            AgentMsg::GetInfo(port) => drop(port.send(self.info(state))),
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
        let _ = ChildEvent::from_event(event);
        Ok(())
    }
}

impl Drop for AgentActor {
    fn drop(&mut self) {
        // However the actor ended, this is when it has left its seat.
        self.env.observer.on_event(ActorEvent::AgentPassivated(self.hosted.agent.id().clone()));
    }
}

impl AgentActor {
    fn drain_queue(&self, myself: &ActorRef<AgentMsg>, state: &mut AgentState) -> Result<(), ActorProcessingErr> {
        for _ in 0..BATCH {
            match self.hosted.queue.pop() {
                Some(job) => self.start_execution(myself, state, job),
                None => return Ok(()),
            }
        }
        Ok(myself.send_message(AgentMsg::Wake)?)
    }

    fn start_execution(&self, myself: &ActorRef<AgentMsg>, state: &mut AgentState, job: ExecutionJob) {
        let ExecutionJob { id, assignment, ticket, port } = job;
        if port.is_closed() {
            return;
        }
        let now = self.env.clock.now();
        let left = assignment.grant.deadline().remaining(now).min(self.hosted.agent.timeout());
        let meter = UsageMeter::default();
        let work = execution::execute(Arc::clone(&self.env), assignment, meter.clone());
        state.core.begin(id, Running { port, meter, _ticket: ticket }, Instant::now());
        let me = myself.clone();
        state.tasks.spawn(id, left, work, move |ended| {
            // If the actor is dead, so is everybody's port.
            let _ = me.send_message(AgentMsg::ExecutionEnded(id, ended));
        });
    }

    fn finish_execution(
        &self,
        state: &mut AgentState,
        id: ExecutionId,
        ended: TaskOutcome<Result<greenroom_protocol::Values, Cause>>,
    ) {
        state.tasks.acknowledge(&id);
        let Some((elapsed, running)) = state.core.finish(id, Instant::now()) else { return };
        let agent = self.hosted.agent.id();
        let result = match ended {
            TaskOutcome::Completed(result) => result,
            TaskOutcome::TimedOut => Err(Cause::new(
                ErrorCode::TimedOut,
                format!("{agent} was not done within its timeout and the deadline"),
            )),
            TaskOutcome::Panicked(said) => {
                // What a panic says may quote its input, so only the log has it, and only as debug.
                tracing::error!(agent.id = agent.as_str(), "execution panicked");
                tracing::debug!(agent.id = agent.as_str(), panic.message = %said, "execution panicked");
                Err(Cause::new(ErrorCode::AgentCrashed, format!("{agent} panicked")))
            }
        };
        let usage = running.meter.total();
        let (status, code) = match &result {
            Ok(_) => (Status::Success, None),
            Err(cause) => (Status::from_cause(cause), Some(cause.code)),
        };
        self.observe(elapsed, status, code, &usage);
        let done = match result {
            Ok(outputs) => Ok(Outcome { outputs, usage }),
            Err(cause) => Err(ExecutionFailure { cause, usage }),
        };
        // Who has gone away does not need the result.
        let _ = running.port.send(done);
    }

    fn abort_execution(&self, state: &mut AgentState, id: ExecutionId) {
        state.tasks.abort(&id);
        if let Some((elapsed, running)) = state.core.finish(id, Instant::now()) {
            self.observe(elapsed, Status::Cancelled, Some(ErrorCode::Cancelled), &running.meter.total());
        }
    }

    fn observe(
        &self,
        elapsed: Duration,
        status: Status,
        code: Option<ErrorCode>,
        usage: &greenroom_protocol::reply::Usage,
    ) {
        let agent = self.hosted.agent.spec();
        self.env.observer.on_event(ActorEvent::ExecutionEnded {
            agent: agent.agent_id.clone(),
            category: agent.category.clone(),
            elapsed,
            status,
            code,
            tokens: usage.tokens,
            model: usage.model.clone(),
        });
    }

    fn passivate_if_idle(&self, myself: &ActorRef<AgentMsg>, state: &AgentState, idle_max: Duration) {
        if state.core.idle_for(idle_max, Instant::now()) && self.hosted.queue.try_detach(myself.get_id()) {
            myself.stop(None);
        }
    }

    fn info(&self, state: &AgentState) -> AgentInfo {
        AgentInfo { agent: self.hosted.agent.id().clone(), running: state.core.running(), begun: state.core.begun() }
    }
}
