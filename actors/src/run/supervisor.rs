//! The supervisor of all runs of this pod: it starts their actors and removes those that have stopped. It does no I/O
//! and restarts no actor: recovery resumes a run whose actor has failed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use greenroom_protocol::{Cause, ErrorCode, RunId};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::actor::{Progress, RunActor, RunArgs, RunMsg};
use super::handle::RunsHandle;
use crate::supervision::{ChildEvent, ExitKind};

/// A hosted run, as other actors see it.
#[derive(Clone)]
pub(super) struct HostedRun {
    pub(super) actor: ActorRef<RunMsg>,
    pub(super) progress: watch::Receiver<Progress>,
}

/// The runs that this pod hosts.
#[derive(Default)]
pub(super) struct HostedRuns(Mutex<HashMap<RunId, HostedRun>>);

impl HostedRuns {
    pub(super) fn find(&self, run: &RunId) -> Option<HostedRun> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(run).cloned()
    }

    pub(super) fn insert(&self, run: RunId, hosted: HostedRun) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(run, hosted);
    }

    /// Removes a run whose actor has stopped, unless another actor hosts it by now.
    pub(super) fn remove(&self, run: &RunId, actor: ActorId) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.get(run).is_some_and(|hosted| hosted.actor.get_id() == actor) {
            runs.remove(run);
        }
    }

    /// Terminates a run. A run that is not hosted has ended or has not started.
    pub(super) fn terminate(&self, run: &RunId, cause: Cause) {
        if let Some(hosted) = self.find(run) {
            // A run whose actor is stopping at this moment does not continue either.
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

/// Messages of the run supervisor.
pub(super) enum RunSupervisorMsg {
    /// Start the actor of this run.
    Activate(Box<RunArgs>, watch::Receiver<Progress>, oneshot::Sender<Result<(), Cause>>),
    /// Return introspection data.
    GetInfo(RpcReplyPort<RunSupervisorInfo>),
}

impl ractor::Message for RunSupervisorMsg {}

/// Introspection of the run supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunSupervisorInfo {
    /// Runs that this pod hosts.
    pub hosted: usize,
}

/// The supervisor of all runs of this pod.
pub struct RunSupervisor {
    runs: RunsHandle,
}

impl RunSupervisor {
    /// Starts the supervisor, linked to `parent`.
    ///
    /// # Errors
    /// The error of ractor, if the parent is stopping.
    pub async fn start_linked(runs: RunsHandle, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, RunSupervisorActor(Self { runs }), (), parent).await?;
        Ok(actor.get_cell())
    }
}

/// The actor behind [`RunSupervisor`]; its messages are private to this module.
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
            RunSupervisorMsg::Activate(args, progress, port) => self.host(&myself, state, *args, progress, port).await,
            // The caller may have dropped its request.
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
        if let ChildEvent::Ended { child, exit, reason } = ChildEvent::from_event(event)
            && let Some(run) = state.remove(&child)
        {
            self.0.runs.hosted_runs().remove(&run, child);
            if exit != ExitKind::Stopped {
                tracing::error!(run.id = %run, child.exit = ?exit, child.reason = %reason, "actor of a run failed; recovery resumes the run");
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
        args: RunArgs,
        progress: watch::Receiver<Progress>,
        port: oneshot::Sender<Result<(), Cause>>,
    ) {
        let run = args.run.clone();
        let (actor, start) = RunActor::new(args);
        let result = Actor::spawn_linked(None, actor, start, myself.get_cell()).await;
        let result = match result {
            Ok((actor, _)) => {
                state.insert(actor.get_id(), run.clone());
                self.0.runs.hosted_runs().insert(run, HostedRun { actor, progress });
                Ok(())
            }
            Err(error) => {
                Err(Cause::new(ErrorCode::ShuttingDown, format!("the actor of the run could not be started: {error}")))
            }
        };
        // If the caller has dropped its request, the run continues.
        let _ = port.send(result);
    }
}
