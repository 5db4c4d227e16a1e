//! The actor of one version of one agent: a flat match over its messages.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{AgentId, Cause, ErrorCode, Outcome, Status};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::running::RunningExecutions;
use super::{ExecutionFailure, ExecutionId, ExecutionJob, ExecutionResult, HostedAgent};
use crate::execution::invocation::UsageMeter;
use crate::execution::{self, ExecutionEnv};
use crate::observer::ActorEvent;
use crate::supervision::{ChildEvent, LinkedTasks, TaskOutcome, WakeMessage};

/// Jobs that the actor starts before it handles its other messages.
const BATCH: usize = 256;

/// Messages of an agent's actor.
pub enum AgentMsg {
    /// A job waits in the queue.
    Wake,
    /// An execution has ended.
    ExecutionEnded(ExecutionId, TaskOutcome<Result<greenroom_protocol::Values, Cause>>),
    /// The caller of this execution has dropped its request.
    CallerGone(ExecutionId),
    /// Passivate the actor if it has been idle for this long.
    CheckIdle(Duration),
    /// Return introspection data.
    GetInfo(RpcReplyPort<AgentInfo>),
}

impl ractor::Message for AgentMsg {}

impl WakeMessage for AgentMsg {
    fn wake() -> Self {
        Self::Wake
    }
}

/// Introspection of an agent's actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentInfo {
    /// The agent.
    pub agent: AgentId,
    /// Executions that run.
    pub running: usize,
    /// Executions that were started since the activation.
    pub started: u64,
}

/// One running execution.
struct Running {
    port: oneshot::Sender<ExecutionResult>,
    meter: UsageMeter,
}

/// State of an agent's actor.
pub struct AgentState {
    executions: RunningExecutions<ExecutionId, Running>,
    tasks: LinkedTasks<ExecutionId>,
}

/// The actor of one version of one agent.
pub struct AgentActor {
    hosted: Arc<HostedAgent>,
    env: Arc<ExecutionEnv>,
}

impl AgentActor {
    /// Starts the actor of a hosted agent, linked to `parent`; the parent's child table attaches it.
    ///
    /// # Errors
    /// The error of ractor, if the parent is stopping.
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
        Ok(AgentState { executions: RunningExecutions::new(Instant::now()), tasks: LinkedTasks::default() })
    }

    async fn handle(
        &self,
        myself: ActorRef<AgentMsg>,
        message: AgentMsg,
        state: &mut AgentState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AgentMsg::Wake => self.drain_queue(&myself, state)?,
            AgentMsg::ExecutionEnded(id, outcome) => self.finish_execution(state, id, outcome),
            AgentMsg::CallerGone(id) => self.abort_execution(state, id),
            AgentMsg::CheckIdle(idle_timeout) => self.passivate_if_idle(&myself, state, idle_timeout),
            // The caller may have dropped its request.
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
        // An agent has no children; this handler overrides the default of ractor, which would stop the actor.
        let _ = ChildEvent::from_event(event);
        Ok(())
    }
}

impl Drop for AgentActor {
    fn drop(&mut self) {
        // Dropped on every kind of exit, so every passivation is reported.
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
        let ExecutionJob { id, invocation, tickets, port } = job;
        if port.is_closed() {
            return;
        }
        let now = self.env.clock.now();
        let time_left = invocation.grant.deadline().remaining(now).min(self.hosted.agent.timeout());
        let meter = UsageMeter::default();
        let work = tickets.scope(execution::execute(Arc::clone(&self.env), invocation, meter.clone()));
        state.executions.insert(id, Running { port, meter }, Instant::now());
        let me = myself.clone();
        state.tasks.spawn(id, time_left, work, move |outcome| {
            // If the actor has stopped, all ports are closed.
            let _ = me.send_message(AgentMsg::ExecutionEnded(id, outcome));
        });
    }

    fn finish_execution(
        &self,
        state: &mut AgentState,
        id: ExecutionId,
        outcome: TaskOutcome<Result<greenroom_protocol::Values, Cause>>,
    ) {
        state.tasks.acknowledge(&id);
        let Some((elapsed, running)) = state.executions.remove(id, Instant::now()) else { return };
        let agent = self.hosted.agent.id();
        let result = match outcome {
            TaskOutcome::Completed(result) => result,
            TaskOutcome::TimedOut => {
                Err(Cause::new(ErrorCode::TimedOut, format!("{agent} did not end before its timeout or the deadline")))
            }
            TaskOutcome::Panicked(message) => {
                // A panic message may quote the input, so it is only logged, at level debug.
                tracing::error!(agent.id = agent.as_str(), "execution panicked");
                tracing::debug!(agent.id = agent.as_str(), panic.message = %message, "execution panicked");
                Err(Cause::new(ErrorCode::AgentCrashed, format!("{agent} panicked")))
            }
        };
        let usage = running.meter.total();
        let (status, code) = match &result {
            Ok(_) => (Status::Success, None),
            Err(cause) => (Status::from_cause(cause), Some(cause.code)),
        };
        self.report_execution(elapsed, status, code, &usage);
        let result = match result {
            Ok(outputs) => Ok(Outcome { outputs, usage }),
            Err(cause) => Err(ExecutionFailure { cause, usage }),
        };
        // The caller may have dropped its request.
        let _ = running.port.send(result);
    }

    fn abort_execution(&self, state: &mut AgentState, id: ExecutionId) {
        state.tasks.abort(&id);
        if let Some((elapsed, running)) = state.executions.remove(id, Instant::now()) {
            self.report_execution(elapsed, Status::Cancelled, Some(ErrorCode::Cancelled), &running.meter.total());
        }
    }

    fn report_execution(
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

    fn passivate_if_idle(&self, myself: &ActorRef<AgentMsg>, state: &AgentState, idle_timeout: Duration) {
        if state.executions.is_idle_for(idle_timeout, Instant::now()) && self.hosted.queue.try_detach(myself.get_id()) {
            myself.stop(None);
        }
    }

    fn info(&self, state: &AgentState) -> AgentInfo {
        AgentInfo {
            agent: self.hosted.agent.id().clone(),
            running: state.executions.running(),
            started: state.executions.started(),
        }
    }
}
