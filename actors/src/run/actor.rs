//! The actor of one run: decide → journal (its one await) → release → effects.
//!
//! ```text
//! Run
//! └── linked tasks: calls, compensations, conditions, outputs, timers
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
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;

use super::call_origins::CallOrigins;
use super::context::{ContextChanges, RunContext};
use super::effects::{EffectContext, EffectOutcome};
use super::handle::RunsHandle;
use super::hosted::InnerEnd;
use super::machine::{CallResult, CallWaits, Event, State};
use super::message::{FirstAction, Progress, RunArgs, RunInfo, RunMsg, UnneededRun};
use super::task::Task;
use crate::concurrency::OwnedTickets;
use crate::failure::RetryBudget;
use crate::observer::ActorEvent;
use crate::supervision::{ChildEvent, LinkedTasks, TaskOutcome};
use process_event::EventOutcome;
pub(super) use process_event::decide_with_outputs;
use waits::CalledRun;

/// State of a run's actor.
pub(super) struct RunActorState {
    machine: State,
    seq: Seq,
    tasks: LinkedTasks<Task>,
    /// The context of the team that was formed for it.
    context: Option<RunContext>,
    /// Runs that the steps in flight have started.
    children: HashMap<StepKey, CalledRun>,
    /// What the calling run was told that this one waits for.
    reported_waits: Option<CallWaits>,
    /// Runs while the root of a tree only waits.
    park_timer: LinkedTasks<()>,
    first: Option<FirstAction>,
    /// Where the calls of the last decision begin, if deltas are published.
    call_origins: Option<CallOrigins>,
    /// Held until the run ends, and by each of its effects.
    tickets: OwnedTickets,
}

impl RunActorState {
    /// The changes of the context, which are shared with its readers.
    pub(super) fn context_changes(&self) -> Option<Arc<ContextChanges>> {
        self.context.as_ref().map(|context| context.changes().clone())
    }
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
        let RunArgs { seq, state, context, first, caller: _, ctx, tickets } = args;
        let started = &ctx.started;
        let retries = match state.started() {
            // The journal of a resumed root has the retries that its tree has left.
            Some(_) => state.retries_remaining(),
            None => started.retry_budget,
        };
        let budget = ctx.env.budgets.open(&started.root, retries);
        let context = context.map(|data| {
            let (env, run, handler_writes) = (ctx.env.clone(), started.run.clone(), state.handler_writes());
            RunContext::new(env, run, ctx.tree.fence(), data, handler_writes.as_ref().clone())
        });
        let state = RunActorState {
            machine: state,
            seq,
            tasks: LinkedTasks::default(),
            context,
            children: HashMap::new(),
            reported_waits: None,
            park_timer: LinkedTasks::default(),
            first: Some(first),
            call_origins: None,
            tickets,
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
            RunMsg::Signal(signal, port) => self.on_signal(&myself, state, signal, port).await,
            RunMsg::WriteContext(permit, port) => self.on_write_context(&myself, state, permit, port).await,
            RunMsg::RecordWrite(sent, port) => self.on_sent_write(&myself, state, *sent, port).await,
            RunMsg::ReadContext(read, port) => self.on_read_context(&myself, state, &read, port).await,
            RunMsg::RetryTaken => self.process_event(&myself, state, &Event::RetryTaken).await.map(drop),
            RunMsg::CallWaits(run, waits) => self.on_call_waits(&myself, state, &run, waits).await,
            RunMsg::Terminate(cause) => {
                self.process_event(&myself, state, &Event::Terminated { cause }).await.map(drop)
            }
            RunMsg::Fenced => {
                self.stop(&myself, "fenced");
                Ok(())
            }
            RunMsg::WaitsLong => {
                self.on_waits_long(state);
                Ok(())
            }
            RunMsg::Park(port) => {
                self.on_park(&myself, state, port);
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
        if self.is_root() {
            let me = myself.clone();
            self.budget.on_take(move || {
                // If the actor has stopped, the next owner reads the retries from the journal.
                let _ = me.send_message(RunMsg::RetryTaken);
            });
        }
        match first {
            FirstAction::Start(decision, receipt, calls) => {
                self.release(myself, state, *decision, &receipt).await;
                self.continue_calls(myself, state, calls);
            }
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
        let called = if let Task::Call(key, _) = &task { state.children.remove(key) } else { None };
        let EffectOutcome { event, settled } = match (outcome, &task) {
            (TaskOutcome::Completed(outcome), _) => outcome,
            (TaskOutcome::TimedOut, _) => {
                failure_event(task, Cause::new(ErrorCode::TimedOut, "the effect exceeded its timeout")).into()
            }
            (TaskOutcome::Panicked(message), _) => {
                tracing::error!(run.id = %self.run(), "effect of a run panicked");
                tracing::debug!(run.id = %self.run(), panic.message = %message, "effect of a run panicked");
                failure_event(task, Cause::new(ErrorCode::Internal, "an effect of the run panicked")).into()
            }
        };
        let event = match &state.context {
            Some(context) => context.check_provided(event, self.ctx.env.clock.now()),
            None => event,
        };
        let processed = self.process_settled_event(myself, state, &event, settled).await?;
        if let Some(called) = called.filter(|_| processed != EventOutcome::Fenced) {
            // It has ended, unless the call has failed before it did. It is ended once the failure is durable: if that
            // is lost, the call is repeated, and needs the run.
            let cause = Cause::new(ErrorCode::Cancelled, format!("the call of {} has ended", self.run()));
            self.end_inner(&called.run, cause);
        }
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

    /// Ends a run that a step has called and does not need any more. It belongs to a permitted call, so its end needs
    /// no permit of its own.
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

/// The event for a task that ended without an event.
fn failure_event(task: Task, cause: Cause) -> Event {
    let usage = Usage::default();
    match task {
        Task::Call(key, attempt) => Event::CallCompleted { key, attempt, result: CallResult::Failed { cause, usage } },
        Task::Compensate(key, attempt) => Event::Compensated { key, attempt, cause: Some(cause), usage },
        Task::Evaluate(key) => Event::StepEvaluated { step: key.step, evaluation: Err(cause) },
        Task::EndInnerRuns => Event::InnerRunsEnded,
        Task::CollectOutputs => Event::OutputsCollected { outputs: Err(cause) },
        Task::Timer(timer) => Event::TimerFired { timer },
    }
}
