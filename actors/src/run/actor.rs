//! The actor of one run: decide → journal (its one await) → release → effects.
//!
//! ```text
//! Run
//! └── linked tasks: calls, compensations, conditions, outputs, timers, the lease
//! ```

mod process_event;
mod signal;
mod start_effect;
mod waits;
mod write_context;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::journal::StepKey;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{Cause, ErrorCode, Reply, RunId};
use greenroom_registry::journal::Seq;
use greenroom_registry::runs::Fence;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;

use super::context::{LastVersion, RunContext};
use super::effects::{EffectContext, EffectOutcome};
use super::hosted::HostedRuns;
use super::machine::{CallResult, CallWaits, Event, State};
use super::message::{FirstAction, Progress, RunArgs, RunInfo, RunMsg, Task};
use crate::concurrency::OwnedTickets;
use crate::failure::RetryBudget;
use crate::observer::ActorEvent;
use crate::supervision::{ChildEvent, LinkedTasks, TaskOutcome};
pub(super) use process_event::decide_with_outputs;
use waits::CalledRun;

/// State of a run's actor.
pub(super) struct RunActorState {
    machine: State,
    seq: Seq,
    tasks: LinkedTasks<Task>,
    /// The context of its team, if a team runs it.
    context: Option<RunContext>,
    /// Runs that the steps in flight have started.
    children: HashMap<StepKey, CalledRun>,
    /// What the calling run was told that this one waits for.
    reported_waits: Option<CallWaits>,
    first: Option<FirstAction>,
    /// Held until the run ends, and by each of its effects.
    tickets: OwnedTickets,
}

impl RunActorState {
    /// The last version of the context, which is shared with its readers.
    pub(super) fn context_version(&self) -> Option<Arc<LastVersion>> {
        self.context.as_ref().map(|context| context.last().clone())
    }
}

/// The actor of one run.
pub(super) struct RunActor {
    fence: Fence,
    ctx: EffectContext,
    progress: watch::Sender<Progress>,
    budget: Arc<RetryBudget>,
    /// The hosted runs of this pod, which include those that this run starts.
    hosted: Arc<HostedRuns>,
}

impl RunActor {
    /// Creates the actor and its initial state.
    pub(super) fn new(
        args: RunArgs,
        progress: watch::Sender<Progress>,
        hosted: Arc<HostedRuns>,
    ) -> (Self, RunActorState) {
        let RunArgs { fence, seq, state, context, first, ctx, tickets } = args;
        let started = &ctx.started;
        let retries = match state.started() {
            // A resumed run has the retries that remain according to its journal.
            Some(_) => state.retries_remaining(),
            None => started.retry_budget,
        };
        let budget = ctx.env.budgets.open(&started.run, started.parent.as_ref(), retries);
        let state = RunActorState {
            machine: state,
            seq,
            tasks: LinkedTasks::default(),
            context: context.map(|data| RunContext::new(ctx.env.clone(), started.run.clone(), fence, data)),
            children: HashMap::new(),
            reported_waits: None,
            first: Some(first),
            tickets,
        };
        (Self { fence, ctx, progress, budget, hosted }, state)
    }

    /// The run of this actor.
    fn run(&self) -> &RunId {
        &self.ctx.started.run
    }
}

impl Actor for RunActor {
    type Msg = RunMsg;
    type State = RunActorState;
    type Arguments = RunActorState;

    async fn pre_start(&self, _: ActorRef<RunMsg>, state: RunActorState) -> Result<RunActorState, ActorProcessingErr> {
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
            RunMsg::WriteContext(permit, port) => self.on_write_context(&myself, state, permit, port).await,
            RunMsg::RestoreContext(port) => self.on_restore_context(&myself, state, port).await,
            RunMsg::RetryTaken => self.process_event(&myself, state, &Event::RetryTaken).await.map(drop),
            RunMsg::CallWaits(run, waits) => self.on_call_waits(&myself, state, &run, waits).await,
            RunMsg::ReportWaits => {
                state.reported_waits = None;
                self.report_waits(state);
                Ok(())
            }
            RunMsg::Terminate(cause) => {
                self.process_event(&myself, state, &Event::Terminated { cause }).await.map(drop)
            }
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
        if let Some(context) = &state.context
            && !self.keeps_view(myself, context.claim_view().await)
        {
            return Ok(());
        }
        self.renew_lease(myself, state);
        let me = myself.clone();
        self.budget.on_take(move || {
            // If the actor has stopped, the next owner reads the retries from the journal.
            let _ = me.send_message(RunMsg::RetryTaken);
        });
        match first {
            FirstAction::Start(decision, receipt) => self.release(myself, state, *decision, &receipt).await,
            FirstAction::Resume(event) => drop(self.process_event(myself, state, &event).await?),
        }
        self.progress.send_modify(|progress| progress.accepted = true);
        Ok(())
    }

    async fn on_task_end(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        task: Task,
        outcome: TaskOutcome<EffectOutcome>,
    ) -> Result<(), ActorProcessingErr> {
        if !state.tasks.acknowledge(&task) {
            return Ok(());
        }
        let EffectOutcome { event, settled } = match (outcome, &task) {
            (TaskOutcome::Completed(outcome), _) => outcome,
            (TaskOutcome::TimedOut, _) => {
                match failure_event(task, Cause::new(ErrorCode::TimedOut, "the effect exceeded its timeout")) {
                    Some(event) => event.into(),
                    None => return Ok(()),
                }
            }
            (TaskOutcome::Panicked(message), _) => {
                tracing::error!(run.id = %self.run(), "effect of a run panicked");
                tracing::debug!(run.id = %self.run(), panic.message = %message, "effect of a run panicked");
                match failure_event(task, Cause::new(ErrorCode::Internal, "an effect of the run panicked")) {
                    Some(event) => event.into(),
                    None => return Ok(()),
                }
            }
        };
        let event = match &state.context {
            Some(context) => context.check_provided(event, self.ctx.env.clock.now()),
            None => event,
        };
        self.process_settled_event(myself, state, &event, settled).await.map(drop)
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

    fn stop(&self, myself: &ActorRef<RunMsg>, reason: &str) {
        self.hosted.remove(self.run(), myself.get_id());
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

/// The event for a task that ended without an event.
fn failure_event(task: Task, cause: Cause) -> Option<Event> {
    let usage = Usage::default();
    match task {
        Task::Call(key, attempt) => {
            Some(Event::CallCompleted { key, attempt, result: CallResult::Failed { cause, usage } })
        }
        Task::Compensate(key, attempt) => Some(Event::Compensated { key, attempt, cause: Some(cause), usage }),
        Task::Evaluate(key) => Some(Event::StepEvaluated { step: key.step, evaluation: Err(cause) }),
        Task::CollectOutputs => Some(Event::OutputsCollected { outputs: Err(cause) }),
        Task::Timer(timer) => Some(Event::TimerFired { timer }),
        Task::Lease => None,
    }
}
