//! The actor of one run: decide → journal (its one await) → release → effects.
//!
//! ```text
//! Run
//! └── linked tasks: calls, compensations, conditions, outputs, timers, the lease
//! ```

mod process_event;
mod start_effect;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::StepKey;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{ContextWrite, Signal, SignalRun};
use greenroom_protocol::{Cause, ErrorCode, Reply, RunId};
use greenroom_registry::context::ViewError;
use greenroom_registry::journal::Seq;
use greenroom_registry::runs::Fence;
use greenroom_rego::Permitted;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{oneshot, watch};

use super::context::{LastVersion, RunContext, lease_lost_error, no_context_error, write_outcome};
use super::effects::{EffectContext, EffectOutcome};
use super::hosted::HostedRuns;
use super::machine::{CallResult, Event, Phase, State, require_awaiting_approval};
use super::message::{FirstAction, Progress, RunArgs, RunInfo, RunMsg, Task, WritePort};
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
    /// The context of its team, if a team runs it.
    context: Option<RunContext>,
    /// Runs that the steps in flight have started.
    children: HashMap<StepKey, RunId>,
    first: Option<FirstAction>,
    _ticket: Option<RunTicket>,
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
        let RunArgs { fence, seq, state, context, first, ctx, ticket } = args;
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
            first: Some(first),
            _ticket: ticket,
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
        self.process_settled_event(myself, state, &event, settled).await
    }

    /// Decides a write of the context on its data, and replies with the number of its entry.
    async fn on_write_context(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        permit: Permitted<ContextWrite>,
        port: WritePort,
    ) -> Result<(), ActorProcessingErr> {
        let (_, write) = permit.redeem();
        let event = match &state.context {
            Some(context) => {
                require_active(&state.machine).and_then(|()| context.write_event(write, self.ctx.env.clock.now()))
            }
            None => Err(no_context_error(self.run())),
        };
        let (after, processed) = (
            state.seq,
            match event {
                Ok(event) => self.process_event(myself, state, &event).await.map(|()| Ok(())),
                Err(cause) => Ok(Err(cause)),
            },
        );
        let result = match &processed {
            Ok(Ok(())) if state.seq > after => Ok(write_outcome(after.plus(1))),
            // Another owner has claimed the run, and this one stops.
            Ok(Ok(())) => Err(lease_lost_error()),
            Ok(Err(cause)) => Err(cause.clone()),
            Err(error) => Err(Cause::new(ErrorCode::OutcomeUnknown, format!("the value may not be written: {error}"))),
        };
        // The caller may have dropped its request.
        let _ = port.send(result);
        processed.map(drop)
    }

    async fn on_restore_context(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &RunActorState,
        port: oneshot::Sender<Result<(), Cause>>,
    ) -> Result<(), ActorProcessingErr> {
        let result = match &state.context {
            Some(context) => {
                let claimed = context.claim_view().await;
                let result = claimed.as_ref().copied().map_err(ViewError::cause);
                self.keeps_view(myself, claimed);
                result
            }
            None => Err(no_context_error(self.run())),
        };
        // The caller may have dropped its request.
        let _ = port.send(result);
        Ok(())
    }

    /// False if another owner has claimed the view, and so the run. Any other failure loses the view only, which is
    /// claimed again when somebody reads it.
    fn keeps_view(&self, myself: &ActorRef<RunMsg>, written: Result<(), ViewError>) -> bool {
        match written {
            Ok(()) => true,
            Err(ViewError::Fenced) => {
                self.stop(myself, "fenced");
                false
            }
            Err(error @ (ViewError::Lost | ViewError::Store(_))) => {
                tracing::warn!(run.id = %self.run(), error = %error, "the view of a context was lost");
                true
            }
        }
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

fn require_active(state: &State) -> Result<(), Cause> {
    match state.phase() {
        Phase::Running | Phase::Compensating { .. } => Ok(()),
        Phase::New | Phase::Ended(_) => Err(Cause::new(ErrorCode::RunNotActive, "the run has ended")),
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
