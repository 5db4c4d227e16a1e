//! The guard's supervisor: it validates and activates policies and restarts its workers.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use greenroom_rego::{Bundle, PolicySnapshot, SnapshotError};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use super::handle::{GuardHandle, log_warnings};
use super::load_error::LoadError;
use super::message::{GuardSupervisorMsg, LoadPort};
use super::validation::validate;
use super::worker::{GuardWorker, GuardWorkerMsg, PolicyJob};
use crate::observer::Observer;
use crate::supervision::{ChildDriver, ChildEvent, ChildKind, ChildMsg, LinkedTasks, TaskOutcome};

/// Interval between two checks for stalled workers.
const TICK: Duration = Duration::from_millis(250);
/// Bundles that may wait for their validation.
const LOADS_MAX: usize = 16;
/// Timeout of one compilation and validation.
const VALIDATION_MAX: Duration = Duration::from_secs(60);

/// State of the guard's supervisor.
pub(super) struct GuardSupervisorState {
    workers: ChildDriver<usize, PolicyJob, GuardWorkerMsg>,
    /// At most one validation runs.
    validation: LinkedTasks<()>,
    loads: VecDeque<(Box<Bundle>, LoadPort)>,
}

/// The actor that supervises the workers of a guard.
pub(super) struct GuardSupervisor {
    handle: GuardHandle,
    observer: Arc<dyn Observer>,
}

impl GuardHandle {
    /// Starts the supervisor of this guard, linked to `parent`. The supervisor starts the workers.
    ///
    /// # Errors
    /// The error of ractor, if the parent is stopping.
    pub async fn start_supervisor(
        &self,
        observer: Arc<dyn Observer>,
        parent: ActorCell,
    ) -> Result<ActorCell, SpawnErr> {
        let supervisor = GuardSupervisor { handle: self.clone(), observer };
        let (actor, _) = Actor::spawn_linked(None, supervisor, (), parent).await?;
        Ok(actor.get_cell())
    }
}

impl Actor for GuardSupervisor {
    type Msg = GuardSupervisorMsg;
    type State = GuardSupervisorState;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<GuardSupervisorMsg>,
        (): (),
    ) -> Result<GuardSupervisorState, ActorProcessingErr> {
        let kind = ChildKind::GuardWorker;
        let mut workers = ChildDriver::new(kind, kind.restart_policy(), Arc::clone(&self.observer));
        workers.start_ticks(myself, TICK);
        Ok(GuardSupervisorState { workers, validation: LinkedTasks::default(), loads: VecDeque::new() })
    }

    async fn post_start(
        &self,
        myself: ActorRef<GuardSupervisorMsg>,
        state: &mut GuardSupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        for worker in 0..self.handle.inner.queues.len() {
            self.start_worker(&myself, state, worker).await?;
        }
        *self.handle.inner.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(myself);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<GuardSupervisorMsg>,
        message: GuardSupervisorMsg,
        state: &mut GuardSupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            GuardSupervisorMsg::Load(bundle, port) => self.load(&myself, state, bundle, port),
            GuardSupervisorMsg::Validated(outcome) => self.on_validated(&myself, state, outcome),
            GuardSupervisorMsg::Worker(ChildMsg::Start(worker)) => self.start_worker(&myself, state, worker).await?,
            GuardSupervisorMsg::Worker(ChildMsg::Tick) => state.workers.kill_stalled(&myself),
            GuardSupervisorMsg::Worker(ChildMsg::KillTimedOut(worker)) => {
                state.workers.on_kill_timeout(&myself, &worker)?;
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<GuardSupervisorMsg>,
        event: SupervisionEvent,
        state: &mut GuardSupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        state.workers.on_child_event(&myself, ChildEvent::from_event(event))
    }
}

impl GuardSupervisor {
    async fn start_worker(
        &self,
        myself: &ActorRef<GuardSupervisorMsg>,
        state: &mut GuardSupervisorState,
        worker: usize,
    ) -> Result<(), ActorProcessingErr> {
        let Some(queue) = self.handle.inner.queues.get(worker).cloned() else { return Ok(()) };
        let actor = GuardWorker { queue: Arc::clone(&queue), active: Arc::clone(&self.handle.inner.active) };
        let parent = myself.get_cell();
        let spawn = || async move { Ok(Actor::spawn_linked(None, actor, (), parent).await?.0) };
        state.workers.start(myself, worker, queue, spawn).await?;
        Ok(())
    }

    /// Bundles are validated one after the other, so they become active in the order in which they were sent.
    fn load(
        &self,
        myself: &ActorRef<GuardSupervisorMsg>,
        state: &mut GuardSupervisorState,
        bundle: Box<Bundle>,
        port: LoadPort,
    ) {
        if state.loads.len() >= LOADS_MAX {
            let _ = port.send(Err(LoadError::Unavailable));
            return;
        }
        state.loads.push_back((bundle, port));
        if state.loads.len() == 1 {
            self.start_validation(myself, state);
        }
    }

    fn start_validation(&self, myself: &ActorRef<GuardSupervisorMsg>, state: &mut GuardSupervisorState) {
        let Some((bundle, _)) = state.loads.front() else { return };
        let validation = validate(self.handle.inner.compiler.clone(), (**bundle).clone());
        let me = myself.clone();
        state.validation.spawn((), VALIDATION_MAX, validation, move |outcome| {
            let _ = me.send_message(GuardSupervisorMsg::Validated(outcome));
        });
    }

    fn on_validated(
        &self,
        myself: &ActorRef<GuardSupervisorMsg>,
        state: &mut GuardSupervisorState,
        outcome: TaskOutcome<Result<Arc<PolicySnapshot>, SnapshotError>>,
    ) {
        state.validation.acknowledge(&());
        let Some((_, port)) = state.loads.pop_front() else { return };
        let result = match outcome {
            TaskOutcome::Completed(Ok(snapshot)) => {
                let revision = Arc::clone(snapshot.revision());
                tracing::info!(policy.revision = %revision, "policy was activated");
                log_warnings(&snapshot);
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
        let _ = port.send(result.map_err(LoadError::Rejected));
        self.start_validation(myself, state);
    }
}
