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

use greenroom_protocol::event::RunState;
use greenroom_protocol::journal::StepKey;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{Signal, SignalRun};
use greenroom_protocol::{Cause, Code, Reply, RunId};
use greenroom_registry::journal::{Receipt, Seq};
use greenroom_registry::runs::Fence;
use greenroom_rego::Permitted;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::effects::Reach;
use super::machine::{Answer, Decision, Event, Phase, State, TimerId, answerable};
use super::supervisor::Hosted;
use crate::dispatcher::Held;
use crate::failure::RetryBudget;
use crate::observer::Observed;
use crate::supervision::{Ended, Exit, LinkedTasks};
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
pub(super) enum First {
    /// It does what was decided when it was made: that is in its journal already.
    Begins(Box<Decision>, Receipt),
    /// It is told that it goes on.
    GoesOn(Box<Event>),
}

/// What a run's actor is spawned with.
pub(super) struct Seed {
    pub(super) run: RunId,
    pub(super) fence: Fence,
    /// The last entry that is in the journal.
    pub(super) seq: Seq,
    /// What the journal says so far.
    pub(super) state: State,
    /// What the run does first.
    pub(super) first: First,
    pub(super) reach: Reach,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) budget: Arc<RetryBudget>,
    /// The runs of this pod, among which are those that this one starts.
    pub(super) hosted: Arc<Hosted>,
    /// What is given back when the run leaves this pod.
    pub(super) held: Option<Held>,
}

/// Names a linked task of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Task {
    Call(StepKey, u32),
    Undo(StepKey, u32),
    Weigh(StepKey),
    Gather,
    Timer(TimerId),
    Lease,
}

/// What a run's actor is told.
pub(super) enum RunMsg {
    /// Begin, or go on.
    Begin,
    /// A task has ended; this is what it says.
    Told(Task, Ended<Event>),
    /// Somebody cancels, approves or rejects.
    Signal(Permitted<SignalRun>, oneshot::Sender<Result<RunState, Cause>>),
    /// A call below it took one of its retries.
    RetryTaken,
    /// It may not go on, for a reason that lies outside of it.
    Lost(Cause),
    /// Another process has taken it over.
    Fenced,
    /// Tell of yourself.
    Observe(RpcReplyPort<RunSight>),
}

impl ractor::Message for RunMsg {}

/// What a run's actor tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunSight {
    /// Which run.
    pub run: RunId,
    /// Where it stands.
    pub state: RunState,
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
    first: Option<First>,
    _held: Option<Held>,
}

/// The actor of one run.
pub(super) struct RunActor {
    run: RunId,
    fence: Fence,
    reach: Reach,
    progress: watch::Sender<Progress>,
    budget: Arc<RetryBudget>,
    hosted: Arc<Hosted>,
}

impl RunActor {
    /// The actor, and what it starts with.
    pub(super) fn new(seed: Seed) -> (Self, RunActorState) {
        let Seed { run, fence, seq, state, first, reach, progress, budget, hosted, held } = seed;
        let state = RunActorState {
            machine: state,
            seq,
            tasks: LinkedTasks::default(),
            children: HashMap::new(),
            first: Some(first),
            _held: held,
        };
        (Self { run, fence, reach, progress, budget, hosted }, state)
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
            RunMsg::Told(task, ended) => self.told(&myself, state, task, ended).await,
            RunMsg::Signal(permit, port) => self.signalled(&myself, state, permit, port).await,
            RunMsg::RetryTaken => self.tell(&myself, state, &Event::RetryTaken).await,
            RunMsg::Lost(cause) => self.tell(&myself, state, &Event::Lost { cause }).await,
            RunMsg::Fenced => {
                self.leave(&myself, "fenced");
                Ok(())
            }
            RunMsg::Observe(port) => {
                // Who has gone away does not need to know.
                let _ = port.send(self.sight(state));
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
        let _ = Exit::read(event);
        Ok(())
    }
}

impl RunActor {
    async fn begin(&self, myself: &ActorRef<RunMsg>, state: &mut RunActorState) -> Result<(), ActorProcessingErr> {
        let Some(first) = state.first.take() else { return Ok(()) };
        self.keep_lease(myself, state);
        let me = myself.clone();
        self.budget.told(move || {
            // If the actor is dead, whoever takes the run up reads what was written so far.
            let _ = me.send_message(RunMsg::RetryTaken);
        });
        match first {
            First::Begins(decision, receipt) => self.release(myself, state, *decision, &receipt),
            First::GoesOn(event) => self.tell(myself, state, &event).await?,
        }
        self.progress.send_modify(|progress| progress.accepted = true);
        Ok(())
    }

    async fn told(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        task: Task,
        ended: Ended<Event>,
    ) -> Result<(), ActorProcessingErr> {
        if !state.tasks.ended(&task) {
            return Ok(());
        }
        let event = match (ended, &task) {
            (Ended::Done(event), _) => event,
            (Ended::TimedOut, _) => match unanswered(task, Cause::new(Code::TimedOut, "its time was up")) {
                Some(event) => event,
                None => return Ok(()),
            },
            (Ended::Panicked(said), _) => {
                tracing::error!(run.id = %self.run, "effect of a run panicked");
                tracing::debug!(run.id = %self.run, panic.message = %said, "effect of a run panicked");
                match unanswered(task, Cause::new(Code::Internal, "an effect of the run panicked")) {
                    Some(event) => event,
                    None => return Ok(()),
                }
            }
        };
        self.tell(myself, state, &event).await
    }

    async fn signalled(
        &self,
        myself: &ActorRef<RunMsg>,
        state: &mut RunActorState,
        permit: Permitted<SignalRun>,
        port: oneshot::Sender<Result<RunState, Cause>>,
    ) -> Result<(), ActorProcessingErr> {
        let (grant, signal) = permit.redeem();
        let by = grant.principal().user.clone();
        let event = match signal.signal {
            Signal::Cancel => active(&state.machine).map(|()| Event::CancelAsked { by }),
            Signal::Approve { step } => answerable(&state.machine, &step).map(|()| Event::Approved { step, by }),
            Signal::Reject { step } => answerable(&state.machine, &step).map(|()| Event::Rejected { step, by }),
        };
        let answer = match event {
            Ok(event) => {
                self.tell(myself, state, &event).await?;
                Ok(state.machine.run_state())
            }
            Err(cause) => Err(cause),
        };
        // Who has gone away does not need the answer.
        let _ = port.send(answer);
        Ok(())
    }

    fn finish(&self, myself: &ActorRef<RunMsg>, state: &RunActorState, reply: Reply) {
        self.reach.hands.observer.saw(Observed::RunEnded {
            workflow: self.reach.begun.workflow.clone(),
            elapsed: Duration::from_millis(reply.metadata.duration_ms),
            status: reply.status,
        });
        tracing::debug!(run.id = %self.run, run.status = reply.status.as_str(), run.entries = state.seq.0, "run ended");
        let reply = Arc::new(reply);
        self.progress.send_modify(|progress| progress.reply = Some(reply));
        self.leave(myself, "ended");
    }

    fn leave(&self, myself: &ActorRef<RunMsg>, why: &str) {
        self.hosted.forget(&self.run, myself.get_id());
        myself.stop(Some(why.to_owned()));
    }

    fn sight(&self, state: &RunActorState) -> RunSight {
        RunSight {
            run: self.run.clone(),
            state: state.machine.run_state(),
            entries: state.seq.0,
            tasks: state.tasks.len(),
        }
    }
}

fn active(state: &State) -> Result<(), Cause> {
    match state.phase() {
        Phase::Running | Phase::Undoing { .. } => Ok(()),
        Phase::New | Phase::Ended(_) => Err(Cause::new(Code::RunNotActive, "the run has ended")),
    }
}

/// What a task that gave no answer stands for.
fn unanswered(task: Task, cause: Cause) -> Option<Event> {
    let usage = Usage::default();
    match task {
        Task::Call(key, attempt) => Some(Event::Answered { key, attempt, answer: Answer::Failed { cause, usage } }),
        Task::Undo(key, attempt) => Some(Event::Undone { key, attempt, cause: Some(cause), usage }),
        Task::Weigh(key) => Some(Event::Weighed { step: key.step, weight: Err(cause) }),
        Task::Gather => Some(Event::Gathered { outputs: Err(cause) }),
        Task::Timer(timer) => Some(Event::Woke { timer }),
        Task::Lease => None,
    }
}
