//! The actor of one run: decide → journal (its one await) → release → effects.
//!
//! ```text
//! Run
//! └── linked tasks: calls, compensations, conditions, outputs, timers
//! ```

mod process_event;
mod start_effect;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::StepKey;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{Signal, SignalRun};
use greenroom_protocol::{Cause, ErrorCode, Reply, RunId};
use greenroom_registry::journal::Seq;
use greenroom_rego::Permitted;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{oneshot, watch};

use super::effects::EffectContext;
use super::handle::RunsHandle;
use super::hosted::InnerEnd;
use super::machine::{CallResult, Event, Phase, State, require_awaiting_approval};
use super::message::{FirstAction, Progress, RunArgs, RunInfo, RunMsg, Task, UnneededRun};
use crate::dispatcher::RunTicket;
use crate::failure::RetryBudget;
use crate::observer::ActorEvent;
use crate::supervision::{ChildEvent, LinkedTasks, TaskOutcome};
pub(super) use process_event::decide_with_outputs;

/// State of a run's actor.
pub(super) struct RunActorState {
    machine: State,
    seq: Seq,
    tasks: LinkedTasks<Task>,
    /// Runs that the steps in flight have started.
    children: HashMap<StepKey, RunId>,
    first: Option<FirstAction>,
    _ticket: Option<RunTicket>,
}

/// The actor of one run.
pub(super) struct RunActor {
    ctx: EffectContext,
    progress: watch::Sender<Progress>,
    /// The retries of the tree.
    budget: Arc<RetryBudget>,
    /// The runs of this pod, which include those that this run starts.
    runs: RunsHandle,
}

impl RunActor {
    /// Creates the actor and its initial state.
    pub(super) fn new(args: RunArgs, progress: watch::Sender<Progress>, runs: RunsHandle) -> (Self, RunActorState) {
        let RunArgs { seq, state, first, caller: _, ctx, ticket } = args;
        let started = &ctx.started;
        let retries = match state.started() {
            // The journal of a resumed root has the retries that its tree has left.
            Some(_) => state.retries_remaining(),
            None => started.retry_budget,
        };
        let budget = ctx.env.budgets.open(&started.root, retries);
        let state = RunActorState {
            machine: state,
            seq,
            tasks: LinkedTasks::default(),
            children: HashMap::new(),
            first: Some(first),
            _ticket: ticket,
        };
        (Self { ctx, progress, budget, runs }, state)
    }

    /// The run of this actor.
    fn run(&self) -> &RunId {
        &self.ctx.started.run
    }

    /// True if no run called it; it records the retries of its whole tree.
    fn is_root(&self) -> bool {
        self.ctx.started.run == self.ctx.started.root
    }
}

impl Actor for RunActor {
    type Msg = RunMsg;
    type State = RunActorState;
    type Arguments = RunActorState;

    async fn pre_start(
        &self,
        myself: ActorRef<RunMsg>,
        state: RunActorState,
    ) -> Result<RunActorState, ActorProcessingErr> {
        myself.send_message(RunMsg::Begin)?;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<RunMsg>,
        message: RunMsg,
        state: &mut RunActorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RunMsg::Begin => self.begin(&myself, state).await,
            RunMsg::TaskEnded(task, outcome) => self.on_task_end(&myself, state, task, outcome).await,
            RunMsg::Signal(permit, port) => self.on_signal(&myself, state, permit, port).await,
            RunMsg::RetryTaken => self.process_event(&myself, state, &Event::RetryTaken).await,
            RunMsg::Terminate(cause) => self.process_event(&myself, state, &Event::Terminated { cause }).await,
            RunMsg::Fenced => {
                self.stop(&myself, "fenced");
                Ok(())
            }
            RunMsg::GetInfo(port) => {
                // The caller may have dropped its request.
                let _ = port.send(self.info(state));
                Ok(())
            }
        }
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<RunMsg>,
        event: SupervisionEvent,
        _: &mut RunActorState,
    ) -> Result<(), ActorProcessingErr> {
        // A run has no children; this handler replaces ractor's default, which would stop the actor.
        let _ = ChildEvent::from_event(event);
        Ok(())
    }
}

impl RunActor {
    async fn begin(&self, myself: &ActorRef<RunMsg>, state: &mut RunActorState) -> Result<(), ActorProcessingErr> {
        let Some(first) = state.first.take() else { return Ok(()) };
        if self.is_root() {
            let me = myself.clone();
            self.budget.on_take(move || {
                // If the actor has stopped, the next owner reads the retries from the journal.
                let _ = me.send_message(RunMsg::RetryTaken);
            });
        }
        match first {
            FirstAction::Start(decision, receipt) => self.release(myself, state, *decision, &receipt),
            FirstAction::Resume(event) => self.process_event(myself, state, &event).await?,
        }
        self.progress.send_modify(|progress| progress.accepted = true);
        Ok(())
    }

    async fn on_task_end(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        task: Task,
        outcome: TaskOutcome<Event>,
    ) -> Result<(), ActorProcessingErr> {
        if !state.tasks.acknowledge(&task) {
            return Ok(());
        }
        if let Task::Call(key, _) = &task
            && let Some(called) = state.children.remove(key)
        {
            // It has ended, unless the call has failed before it did.
            self.end_inner(&called, Cause::new(ErrorCode::Cancelled, format!("the call of {} has ended", self.run())));
        }
        let event = match (outcome, &task) {
            (TaskOutcome::Completed(event), _) => event,
            (TaskOutcome::TimedOut, _) => {
                failure_event(task, Cause::new(ErrorCode::TimedOut, "the effect exceeded its timeout"))
            }
            (TaskOutcome::Panicked(message), _) => {
                tracing::error!(run.id = %self.run(), "effect of a run panicked");
                tracing::debug!(run.id = %self.run(), panic.message = %message, "effect of a run panicked");
                failure_event(task, Cause::new(ErrorCode::Internal, "an effect of the run panicked"))
            }
        };
        self.process_event(myself, state, &event).await
    }

    async fn on_signal(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        permit: Permitted<SignalRun>,
        port: oneshot::Sender<Result<RunStatus, Cause>>,
    ) -> Result<(), ActorProcessingErr> {
        let (grant, signal) = permit.redeem();
        let by = grant.principal().user.clone();
        let event = match signal.signal {
            Signal::Cancel => require_active(&state.machine).map(|()| Event::CancelRequested { by }),
            Signal::Approve { step } => {
                require_awaiting_approval(&state.machine, &step).map(|()| Event::Approved { step, by })
            }
            Signal::Reject { step } => {
                require_awaiting_approval(&state.machine, &step).map(|()| Event::Rejected { step, by })
            }
        };
        let result = match event {
            Ok(event) => {
                self.process_event(myself, state, &event).await?;
                Ok(state.machine.run_status())
            }
            Err(cause) => Err(cause),
        };
        // The caller may have dropped its request.
        let _ = port.send(result);
        Ok(())
    }

    fn finish(&self, myself: &ActorRef<RunMsg>, state: &RunActorState, reply: Reply) {
        self.ctx.env.observer.on_event(ActorEvent::RunEnded {
            workflow: self.ctx.started.workflow.clone(),
            elapsed: Duration::from_millis(reply.metadata.duration_ms),
            status: reply.status,
        });
        tracing::debug!(run.id = %self.run(), run.status = reply.status.as_str(), run.entries = state.seq.0, "run ended");
        let reply = Arc::new(reply);
        self.progress.send_modify(|progress| progress.reply = Some(reply));
        self.stop(myself, "ended");
    }

    /// Ends a run that a step has called and does not need any more. It belongs to a permitted call, so its end needs no
    /// permit of its own.
    fn end_inner(&self, called: &RunId, cause: Cause) {
        if self.runs.hosted_runs().end_inner(self.run(), called, cause.clone()) == InnerEnd::InStore {
            let (run, caller, tree) = (called.clone(), Some(self.run().clone()), self.ctx.tree.clone());
            self.runs.end_unneeded(UnneededRun { run, caller, tree, cause });
        }
    }

    fn stop(&self, myself: &ActorRef<RunMsg>, reason: &str) {
        drop(self.runs.hosted_runs().remove(self.run(), myself.get_id()));
        myself.stop(Some(reason.to_owned()));
    }

    fn info(&self, state: &RunActorState) -> RunInfo {
        RunInfo {
            run: self.run().clone(),
            status: state.machine.run_status(),
            entries: state.seq.0,
            tasks: state.tasks.len(),
        }
    }
}

fn require_active(state: &State) -> Result<(), Cause> {
    match state.phase() {
        Phase::Running | Phase::Compensating { .. } => Ok(()),
        Phase::New | Phase::Ended(_) => Err(Cause::new(ErrorCode::RunNotActive, "the run has ended")),
    }
}

/// The event for a task that ended without an event.
fn failure_event(task: Task, cause: Cause) -> Event {
    let usage = Usage::default();
    match task {
        Task::Call(key, attempt) => Event::CallCompleted { key, attempt, result: CallResult::Failed { cause, usage } },
        Task::Compensate(key, attempt) => Event::Compensated { key, attempt, cause: Some(cause), usage },
        Task::Evaluate(key) => Event::StepEvaluated { step: key.step, evaluation: Err(cause) },
        Task::CollectOutputs => Event::OutputsCollected { outputs: Err(cause) },
        Task::Timer(timer) => Event::TimerFired { timer },
    }
}
