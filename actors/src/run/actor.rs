//! The actor of one run. Its whole act: decide → journal (its one await) → release → effects.
//!
//! ```text
//! Run
//! └── linked tasks: calls, undoings, conditions, outputs, timers, the lease
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
use greenroom_registry::journal::{Receipt, Seq};
use greenroom_registry::runs::Fence;
use greenroom_rego::Permitted;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::effects::EffectContext;
use super::machine::{CallResult, Decision, Event, Phase, State, TimerId, answerable};
use super::supervisor::HostedRuns;
use crate::dispatcher::RunTicket;
use crate::failure::RetryBudget;
use crate::observer::ActorEvent;
use crate::supervision::{ChildEvent, LinkedTasks, TaskOutcome};
pub(super) use process_event::decided;

/// How far a run is, for those who wait for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Its first entry of this process is durable.
    pub(super) accepted: bool,
    /// How it ended.
    pub(super) reply: Option<Arc<Reply>>,
}

/// What a run does first.
pub(super) enum FirstAction {
    /// It does what was decided when it was made: that is in its journal already.
    Start(Box<Decision>, Receipt),
    /// It is told that it goes on.
    Resume(Box<Event>),
}

/// What a run's actor is spawned with.
pub(super) struct RunArgs {
    pub(super) run: RunId,
    pub(super) fence: Fence,
    /// The last entry that is in the journal.
    pub(super) seq: Seq,
    /// What the journal says so far.
    pub(super) state: State,
    /// What the run does first.
    pub(super) first: FirstAction,
    pub(super) ctx: EffectContext,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) budget: Arc<RetryBudget>,
    /// The runs of this pod, among which are those that this one starts.
    pub(super) hosted: Arc<HostedRuns>,
    /// What is given back when the run leaves this pod.
    pub(super) held: Option<RunTicket>,
}

/// Names a linked task of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Task {
    Call(StepKey, u32),
    Compensate(StepKey, u32),
    Evaluate(StepKey),
    CollectOutputs,
    Timer(TimerId),
    Lease,
}

/// What a run's actor is told.
pub(super) enum RunMsg {
    /// Begin, or go on.
    Begin,
    /// A task has ended; this is what it says.
    TaskEnded(Task, TaskOutcome<Event>),
    /// Somebody cancels, approves or rejects.
    Signal(Permitted<SignalRun>, oneshot::Sender<Result<RunStatus, Cause>>),
    /// A call below it took one of its retries.
    RetryTaken,
    /// It may not go on, for a reason that lies outside of it.
    Terminate(Cause),
    /// Another process has taken it over.
    Fenced,
    /// Tell of yourself.
    GetInfo(RpcReplyPort<RunInfo>),
}

impl ractor::Message for RunMsg {}

/// What a run's actor tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunInfo {
    /// Which run.
    pub run: RunId,
    /// Where it stands.
    pub state: RunStatus,
    /// Entries of its journal.
    pub entries: u64,
    /// Tasks under way, timers and the lease among them.
    pub tasks: usize,
}

/// What a run's actor holds.
pub(super) struct RunActorState {
    machine: State,
    seq: Seq,
    tasks: LinkedTasks<Task>,
    /// The runs that steps under way have started.
    children: HashMap<StepKey, RunId>,
    first: Option<FirstAction>,
    _held: Option<RunTicket>,
}

/// The actor of one run.
pub(super) struct RunActor {
    run: RunId,
    fence: Fence,
    ctx: EffectContext,
    progress: watch::Sender<Progress>,
    budget: Arc<RetryBudget>,
    hosted: Arc<HostedRuns>,
}

impl RunActor {
    /// The actor, and what it starts with.
    pub(super) fn new(seed: RunArgs) -> (Self, RunActorState) {
        let RunArgs { run, fence, seq, state, first, ctx: reach, progress, budget, hosted, held } = seed;
        let state = RunActorState {
            machine: state,
            seq,
            tasks: LinkedTasks::default(),
            children: HashMap::new(),
            first: Some(first),
            _held: held,
        };
        (Self { run, fence, ctx: reach, progress, budget, hosted }, state)
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
            RunMsg::TaskEnded(task, ended) => self.on_task_end(&myself, state, task, ended).await,
            RunMsg::Signal(permit, port) => self.on_signal(&myself, state, permit, port).await,
            RunMsg::RetryTaken => self.process_event(&myself, state, &Event::RetryTaken).await,
            RunMsg::Terminate(cause) => self.process_event(&myself, state, &Event::Terminated { cause }).await,
            RunMsg::Fenced => {
                self.stop(&myself, "fenced");
                Ok(())
            }
            RunMsg::GetInfo(port) => {
                // Who has gone away does not need to know.
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
        // A run has no children; the event is read so that ractor's default does not stop it.
        let _ = ChildEvent::from_event(event);
        Ok(())
    }
}

impl RunActor {
    async fn begin(&self, myself: &ActorRef<RunMsg>, state: &mut RunActorState) -> Result<(), ActorProcessingErr> {
        let Some(first) = state.first.take() else { return Ok(()) };
        self.renew_lease(myself, state);
        let me = myself.clone();
        self.budget.on_take(move || {
            // If the actor is dead, whoever takes the run up reads what was written so far.
            let _ = me.send_message(RunMsg::RetryTaken);
        });
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
        ended: TaskOutcome<Event>,
    ) -> Result<(), ActorProcessingErr> {
        if !state.tasks.acknowledge(&task) {
            return Ok(());
        }
        let event = match (ended, &task) {
            (TaskOutcome::Completed(event), _) => event,
            (TaskOutcome::TimedOut, _) => match failure_event(task, Cause::new(ErrorCode::TimedOut, "its time was up"))
            {
                Some(event) => event,
                None => return Ok(()),
            },
            (TaskOutcome::Panicked(said), _) => {
                tracing::error!(run.id = %self.run, "effect of a run panicked");
                tracing::debug!(run.id = %self.run, panic.message = %said, "effect of a run panicked");
                match failure_event(task, Cause::new(ErrorCode::Internal, "an effect of the run panicked")) {
                    Some(event) => event,
                    None => return Ok(()),
                }
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
            Signal::Cancel => active(&state.machine).map(|()| Event::CancelRequested { by }),
            Signal::Approve { step } => answerable(&state.machine, &step).map(|()| Event::Approved { step, by }),
            Signal::Reject { step } => answerable(&state.machine, &step).map(|()| Event::Rejected { step, by }),
        };
        let answer = match event {
            Ok(event) => {
                self.process_event(myself, state, &event).await?;
                Ok(state.machine.run_state())
            }
            Err(cause) => Err(cause),
        };
        // Who has gone away does not need the answer.
        let _ = port.send(answer);
        Ok(())
    }

    fn finish(&self, myself: &ActorRef<RunMsg>, state: &RunActorState, reply: Reply) {
        self.ctx.env.observer.on_event(ActorEvent::RunEnded {
            workflow: self.ctx.begun.workflow.clone(),
            elapsed: Duration::from_millis(reply.metadata.duration_ms),
            status: reply.status,
        });
        tracing::debug!(run.id = %self.run, run.status = reply.status.as_str(), run.entries = state.seq.0, "run ended");
        let reply = Arc::new(reply);
        self.progress.send_modify(|progress| progress.reply = Some(reply));
        self.stop(myself, "ended");
    }

    fn stop(&self, myself: &ActorRef<RunMsg>, why: &str) {
        self.hosted.remove(&self.run, myself.get_id());
        myself.stop(Some(why.to_owned()));
    }

    fn info(&self, state: &RunActorState) -> RunInfo {
        RunInfo {
            run: self.run.clone(),
            state: state.machine.run_state(),
            entries: state.seq.0,
            tasks: state.tasks.len(),
        }
    }
}

fn active(state: &State) -> Result<(), Cause> {
    match state.phase() {
        Phase::Running | Phase::Compensating { .. } => Ok(()),
        Phase::New | Phase::Ended(_) => Err(Cause::new(ErrorCode::RunNotActive, "the run has ended")),
    }
}

/// What a task that gave no answer stands for.
fn failure_event(task: Task, cause: Cause) -> Option<Event> {
    let usage = Usage::default();
    match task {
        Task::Call(key, attempt) => {
            Some(Event::CallCompleted { key, attempt, answer: CallResult::Failed { cause, usage } })
        }
        Task::Compensate(key, attempt) => Some(Event::Compensated { key, attempt, cause: Some(cause), usage }),
        Task::Evaluate(key) => Some(Event::StepEvaluated { step: key.step, weight: Err(cause) }),
        Task::CollectOutputs => Some(Event::OutputsCollected { outputs: Err(cause) }),
        Task::Timer(timer) => Some(Event::TimerFired { timer }),
        Task::Lease => None,
    }
}
