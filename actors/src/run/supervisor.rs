//! The supervisor of all runs of this pod: it seats their actors and forgets those that have left. It
//! does no I/O and restarts nobody: a run whose actor died is taken up by recovery.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use greenroom_protocol::{Cause, Code, RunId};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::actor::{Progress, RunActor, RunMsg, Seed};
use super::handle::Runs;
use crate::supervision::{Exit, How};

/// A run that is hosted here, as the others see it.
#[derive(Clone)]
pub(super) struct Seated {
    pub(super) actor: ActorRef<RunMsg>,
    pub(super) progress: watch::Receiver<Progress>,
}

/// The runs that are hosted here.
#[derive(Default)]
pub(super) struct Hosted(Mutex<HashMap<RunId, Seated>>);

impl Hosted {
    pub(super) fn find(&self, run: &RunId) -> Option<Seated> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(run).cloned()
    }

    pub(super) fn seat(&self, run: RunId, seated: Seated) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(run, seated);
    }

    /// Forgets a run whose actor has left, unless another one sits there by now.
    pub(super) fn forget(&self, run: &RunId, actor: ActorId) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.get(run).is_some_and(|seated| seated.actor.get_id() == actor) {
            runs.remove(run);
        }
    }

    /// Tells a run that it may not go on. One that is not here has ended, or never began.
    pub(super) fn lose(&self, run: &RunId, cause: Cause) {
        if let Some(seated) = self.find(run) {
            // A run that leaves at this moment does not go on either.
            let _ = seated.actor.send_message(RunMsg::Lost(cause));
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
pub(super) enum RunsMsg {
    /// Seat this run.
    Host(Box<Seed>, watch::Receiver<Progress>, oneshot::Sender<Result<(), Cause>>),
    /// Tell of yourself.
    Observe(RpcReplyPort<RunsSight>),
}

impl ractor::Message for RunsMsg {}

/// What the supervisor of runs tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunsSight {
    /// Runs that are hosted here.
    pub hosted: usize,
}

/// The supervisor of all runs of this pod.
pub struct RunsActor {
    runs: Runs,
}

impl RunsActor {
    /// Spawns the supervisor under `parent`.
    ///
    /// # Errors
    /// What ractor says, if the parent is stopping.
    pub async fn spawn_under(runs: Runs, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, RunsDesk(Self { runs }), (), parent).await?;
        Ok(actor.get_cell())
    }
}

/// The actor behind [`RunsActor`]; its messages stay in this module.
struct RunsDesk(RunsActor);

impl Actor for RunsDesk {
    type Msg = RunsMsg;
    type State = HashMap<ActorId, RunId>;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<RunsMsg>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        self.0.runs.seat(myself);
        Ok(HashMap::new())
    }

    async fn handle(
        &self,
        myself: ActorRef<RunsMsg>,
        message: RunsMsg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RunsMsg::Host(seed, progress, port) => self.host(&myself, state, *seed, progress, port).await,
            // Who has gone away does not need to know.
            RunsMsg::Observe(port) => drop(port.send(RunsSight { hosted: self.0.runs.hosted() })),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<RunsMsg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let Exit::Ended { who, how, why } = Exit::read(event)
            && let Some(run) = state.remove(&who)
        {
            self.0.runs.seats().forget(&run, who);
            if how != How::Stopped {
                tracing::error!(run.id = %run, child.how = ?how, child.why = %why, "run's actor died; recovery takes it up");
            }
        }
        Ok(())
    }
}

impl RunsDesk {
    async fn host(
        &self,
        myself: &ActorRef<RunsMsg>,
        state: &mut HashMap<ActorId, RunId>,
        seed: Seed,
        progress: watch::Receiver<Progress>,
        port: oneshot::Sender<Result<(), Cause>>,
    ) {
        let run = seed.run.clone();
        let (actor, start) = RunActor::new(seed);
        let spawned = Actor::spawn_linked(None, actor, start, myself.get_cell()).await;
        let answer = match spawned {
            Ok((actor, _)) => {
                state.insert(actor.get_id(), run.clone());
                self.0.runs.seats().seat(run, Seated { actor, progress });
                Ok(())
            }
            Err(error) => Err(Cause::new(Code::ShuttingDown, format!("the run could not be seated: {error}"))),
        };
        // Whoever has gone away left a run that goes on.
        let _ = port.send(answer);
    }
}
