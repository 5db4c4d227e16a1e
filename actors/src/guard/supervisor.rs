//! The guard's supervisor: it validates and activates policies and restarts its workers.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use greenroom_rego::{Bundle, PolicySnapshot, SnapshotError};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::Instant;

use super::handle::GuardHandle;
use super::message::{GuardSupervisorMsg, LoadPort};
use super::worker::{GuardWorker, GuardWorkerMsg, PolicyJob};
use crate::observer::{ActorEvent, Observer};
use crate::supervision::child_table::{ChildTable, KILL_TIMEOUT, SupervisorAction};
use crate::supervision::{ChildEvent, ChildKind, LinkedTasks, TaskOutcome};

/// Interval between two checks for stalled workers.
const TICK: Duration = Duration::from_millis(250);
/// Bundles that may wait for their validation.
const LOADS_MAX: usize = 16;
/// Timeout of one compilation and validation.
const VALIDATION_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Task {
    Ticks,
    Validation,
    Fill(usize),
    Kill(ractor::ActorId),
}

/// State of the guard's supervisor.
struct GuardSupervisorState {
    roster: ChildTable<usize, PolicyJob, GuardWorkerMsg>,
    tasks: LinkedTasks<Task>,
    loads: VecDeque<(Box<Bundle>, LoadPort)>,
}

/// The supervisor of the guard.
pub struct GuardSupervisor {
    handle: GuardHandle,
    observer: Arc<dyn Observer>,
}

impl GuardSupervisor {
    /// Creates a supervisor for this handle.
    #[must_use]
    pub fn new(handle: GuardHandle, observer: Arc<dyn Observer>) -> Self {
        Self { handle, observer }
    }

    /// Starts the supervisor, linked to `parent`.
    ///
    /// # Errors
    /// The error of ractor, if the parent is stopping.
    pub async fn start_linked(self, parent: ActorCell) -> Result<ActorCell, ractor::SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, GuardSupervisorActor(self), (), parent).await?;
        Ok(actor.get_cell())
    }
}

/// The actor behind [`GuardSupervisor`]; its messages are private to this module.
struct GuardSupervisorActor(GuardSupervisor);

impl Actor for GuardSupervisorActor {
    type Msg = GuardSupervisorMsg;
    type State = GuardSupervisorState;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<GuardSupervisorMsg>,
        (): (),
    ) -> Result<GuardSupervisorState, ActorProcessingErr> {
        let mut tasks = LinkedTasks::default();
        tasks.run_every(Task::Ticks, TICK, move || myself.send_message(GuardSupervisorMsg::Tick).is_ok());
        Ok(GuardSupervisorState { roster: ChildTable::new(ChildKind::GuardWorker), tasks, loads: VecDeque::new() })
    }

    async fn post_start(
        &self,
        myself: ActorRef<GuardSupervisorMsg>,
        state: &mut GuardSupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        for worker in 0..self.0.handle.inner.queues.len() {
            self.0.fill(&myself, state, worker).await?;
        }
        *self.0.handle.inner.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(myself);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<GuardSupervisorMsg>,
        message: GuardSupervisorMsg,
        state: &mut GuardSupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            GuardSupervisorMsg::Load(bundle, port) => self.0.load(&myself, state, bundle, port),
            GuardSupervisorMsg::Validated(outcome) => self.0.on_validated(&myself, state, outcome),
            GuardSupervisorMsg::StartWorker(worker) => self.0.fill(&myself, state, worker).await?,
            GuardSupervisorMsg::Tick => GuardSupervisor::kill_stalled(&myself, state),
            GuardSupervisorMsg::KillTimedOut(worker) => self.0.abandon(&myself, state, &worker)?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<GuardSupervisorMsg>,
        event: SupervisionEvent,
        state: &mut GuardSupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match ChildEvent::from_event(event) {
            ChildEvent::Ended { child, exit, reason } => {
                state.tasks.abort(&Task::Kill(child));
                tracing::warn!(child.kind = ChildKind::GuardWorker.as_str(), child.exit = ?exit, child.reason = %reason, "child ended");
                let change = state.roster.on_exit(child, exit, Instant::now());
                self.0.carry_out(&myself, state, change)
            }
            ChildEvent::Started(_) | ChildEvent::Other => Ok(()),
        }
    }
}

impl GuardSupervisor {
    async fn fill(
        &self,
        myself: &ActorRef<GuardSupervisorMsg>,
        state: &mut GuardSupervisorState,
        worker: usize,
    ) -> Result<(), ActorProcessingErr> {
        let Some(queue) = self.handle.inner.queues.get(worker).cloned() else { return Ok(()) };
        let actor = GuardWorker { queue: Arc::clone(&queue), active: Arc::clone(&self.handle.inner.active) };
        let parent = myself.get_cell();
        let spawn = || async move { Ok(Actor::spawn_linked(None, actor, (), parent).await?.0) };
        let change = state.roster.start(worker, queue, spawn).await;
        self.carry_out(myself, state, change)
    }

    /// Applies an action of the child table. An error terminates this supervisor.
    fn carry_out(
        &self,
        myself: &ActorRef<GuardSupervisorMsg>,
        state: &mut GuardSupervisorState,
        change: SupervisorAction<usize>,
    ) -> Result<(), ActorProcessingErr> {
        match change {
            SupervisorAction::None | SupervisorAction::Stopped(_) | SupervisorAction::CircuitOpened(_) => Ok(()),
            SupervisorAction::RestartAfter { key, after, died } => {
                if died {
                    self.observer.on_event(ActorEvent::ChildRestarted { kind: ChildKind::GuardWorker.as_str() });
                }
                let me = myself.clone();
                state.tasks.run_after(Task::Fill(key), after, move || {
                    let _ = me.send_message(GuardSupervisorMsg::StartWorker(key));
                });
                Ok(())
            }
            SupervisorAction::Escalate(worker) | SupervisorAction::StopPod(worker) => {
                Err(format!("guard worker {worker} exceeded its restart intensity").into())
            }
        }
    }

    fn kill_stalled(myself: &ActorRef<GuardSupervisorMsg>, state: &mut GuardSupervisorState) {
        for worker in state.roster.stalled(Instant::now()) {
            tracing::error!(child.kind = ChildKind::GuardWorker.as_str(), "child is stalled and will be killed");
            let me = myself.clone();
            let doomed = worker.clone();
            let kill = async move { worker.kill_and_wait(Some(KILL_TIMEOUT)).await.is_ok() };
            state.tasks.spawn(Task::Kill(doomed.get_id()), 2 * KILL_TIMEOUT, kill, move |ended| {
                if ended != TaskOutcome::Completed(true) {
                    let _ = me.send_message(GuardSupervisorMsg::KillTimedOut(doomed));
                }
            });
        }
    }

    fn abandon(
        &self,
        myself: &ActorRef<GuardSupervisorMsg>,
        state: &mut GuardSupervisorState,
        worker: &ActorCell,
    ) -> Result<(), ActorProcessingErr> {
        let change = state.roster.unlink(worker, myself.get_cell(), Instant::now());
        if change != SupervisorAction::None {
            self.observer.on_event(ActorEvent::ChildAbandoned { kind: ChildKind::GuardWorker.as_str() });
        }
        self.carry_out(myself, state, change)
    }

    /// Bundles are validated one after the other, so the last one that was sent becomes active last.
    fn load(
        &self,
        myself: &ActorRef<GuardSupervisorMsg>,
        state: &mut GuardSupervisorState,
        bundle: Box<Bundle>,
        port: LoadPort,
    ) {
        if state.loads.len() >= LOADS_MAX {
            let _ = port.send(Err(Cause::new(ErrorCode::Overloaded, "too many bundles wait for their validation")));
            return;
        }
        state.loads.push_back((bundle, port));
        if state.loads.len() == 1 {
            self.start_validation(myself, state);
        }
    }

    fn start_validation(&self, myself: &ActorRef<GuardSupervisorMsg>, state: &mut GuardSupervisorState) {
        let Some((bundle, _)) = state.loads.front() else { return };
        let (compiler, bundle) = (self.handle.inner.compiler.clone(), bundle.clone());
        let me = myself.clone();
        let validation = async move {
            let compiled = tokio::task::spawn_blocking(move || compiler.compile(&bundle)).await;
            let compiled = compiled.map_err(|error| SnapshotError::Compile(error.to_string()))??;
            PolicySnapshot::validate(compiled).await
        };
        state.tasks.spawn(Task::Validation, VALIDATION_MAX, validation, move |outcome| {
            let _ = me.send_message(GuardSupervisorMsg::Validated(outcome));
        });
    }

    fn on_validated(
        &self,
        myself: &ActorRef<GuardSupervisorMsg>,
        state: &mut GuardSupervisorState,
        outcome: TaskOutcome<Result<Arc<PolicySnapshot>, SnapshotError>>,
    ) {
        state.tasks.acknowledge(&Task::Validation);
        let Some((_, port)) = state.loads.pop_front() else { return };
        let result = match outcome {
            TaskOutcome::Completed(Ok(snapshot)) => {
                let revision = Arc::clone(snapshot.revision());
                tracing::info!(policy.revision = %revision, "policy was activated");
                self.handle.inner.active.store(snapshot);
                Ok(revision)
            }
            TaskOutcome::Completed(Err(error)) => Err(Cause::from(error)),
            TaskOutcome::TimedOut => Err(Cause::new(ErrorCode::InvalidPolicy, "the bundle took too long to compile")),
            TaskOutcome::Panicked(message) => {
                Err(Cause::new(ErrorCode::InvalidPolicy, format!("the validation panicked: {message}")))
            }
        };
        if let Err(cause) = &result {
            tracing::error!(error.message = %cause.message, "policy was rejected, and the active policy is unchanged");
        }
        let _ = port.send(result);
        self.start_validation(myself, state);
    }
}
