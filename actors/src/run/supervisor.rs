//! The supervisor of all runs of this pod: it seats their actors and forgets those that have left. It
//! does no I/O and restarts nobody: a run whose actor died is taken up by recovery.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use greenroom_protocol::{Cause, ErrorCode, RunId};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::actor::{Progress, RunActor, RunArgs, RunMsg};
use super::handle::RunsHandle;
use crate::supervision::{ChildEvent, ExitKind};

/// A run that is hosted here, as the others see it.
#[derive(Clone)]
pub(super) struct HostedRun {
    pub(super) actor: ActorRef<RunMsg>,
    pub(super) progress: watch::Receiver<Progress>,
}

/// The runs that are hosted here.
#[derive(Default)]
pub(super) struct HostedRuns(Mutex<HashMap<RunId, HostedRun>>);

impl HostedRuns {
    pub(super) fn find(&self, run: &RunId) -> Option<HostedRun> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(run).cloned()
    }

    pub(super) fn insert(&self, run: RunId, hosted: HostedRun) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(run, hosted);
    }

    /// Forgets a run whose actor has left, unless another one sits there by now.
    pub(super) fn remove(&self, run: &RunId, actor: ActorId) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.get(run).is_some_and(|hosted| hosted.actor.get_id() == actor) {
            runs.remove(run);
        }
    }

    /// Tells a run that it may not go on. One that is not here has ended, or never began.
    pub(super) fn terminate(&self, run: &RunId, cause: Cause) {
        if let Some(hosted) = self.find(run) {
            // A run that leaves at this moment does not go on either.
            let _ = hosted.actor.send_message(RunMsg::Terminate(cause));
        }
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// What the supervisor of runs is told.
pub(super) enum RunSupervisorMsg {
    /// Seat this run.
    Activate(Box<RunArgs>, watch::Receiver<Progress>, oneshot::Sender<Result<(), Cause>>),
    /// Tell of yourself.
    GetInfo(RpcReplyPort<RunSupervisorInfo>),
}

impl ractor::Message for RunSupervisorMsg {}

/// What the supervisor of runs tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunSupervisorInfo {
    /// Runs that are hosted here.
    pub hosted: usize,
}

/// The supervisor of all runs of this pod.
pub struct RunSupervisor {
    runs: RunsHandle,
}

impl RunSupervisor {
    /// Spawns the supervisor under `parent`.
    ///
    /// # Errors
    /// What ractor says, if the parent is stopping.
    pub async fn start_linked(runs: RunsHandle, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, RunSupervisorActor(Self { runs }), (), parent).await?;
        Ok(actor.get_cell())
    }
}

/// The actor behind [`RunsActor`]; its messages stay in this module.
struct RunSupervisorActor(RunSupervisor);

impl Actor for RunSupervisorActor {
    type Msg = RunSupervisorMsg;
    type State = HashMap<ActorId, RunId>;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<RunSupervisorMsg>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        self.0.runs.set_supervisor(myself);
        Ok(HashMap::new())
    }

    async fn handle(
        &self,
        myself: ActorRef<RunSupervisorMsg>,
        message: RunSupervisorMsg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RunSupervisorMsg::Activate(seed, progress, port) => self.host(&myself, state, *seed, progress, port).await,
            // Who has gone away does not need to know.
            RunSupervisorMsg::GetInfo(port) => drop(port.send(RunSupervisorInfo { hosted: self.0.runs.hosted() })),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<RunSupervisorMsg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let ChildEvent::Ended { child: who, exit: how, reason: why } = ChildEvent::from_event(event)
            && let Some(run) = state.remove(&who)
        {
            self.0.runs.hosted_runs().remove(&run, who);
            if how != ExitKind::Stopped {
                tracing::error!(run.id = %run, child.how = ?how, child.why = %why, "run's actor died; recovery takes it up");
            }
        }
        Ok(())
    }
}

impl RunSupervisorActor {
    async fn host(
        &self,
        myself: &ActorRef<RunSupervisorMsg>,
        state: &mut HashMap<ActorId, RunId>,
        seed: RunArgs,
        progress: watch::Receiver<Progress>,
        port: oneshot::Sender<Result<(), Cause>>,
    ) {
        let run = seed.run.clone();
        let (actor, start) = RunActor::new(seed);
        let spawned = Actor::spawn_linked(None, actor, start, myself.get_cell()).await;
        let answer = match spawned {
            Ok((actor, _)) => {
                state.insert(actor.get_id(), run.clone());
                self.0.runs.hosted_runs().insert(run, HostedRun { actor, progress });
                Ok(())
            }
            Err(error) => Err(Cause::new(ErrorCode::ShuttingDown, format!("the run could not be seated: {error}"))),
        };
        // Whoever has gone away left a run that goes on.
        let _ = port.send(answer);
    }
}
