//! The supervisor of all runs of this pod: it starts their actors and removes those that have stopped. It does no I/O
//! and restarts no actor: recovery resumes a run whose actor has failed.

use std::collections::HashMap;

use greenroom_protocol::{Cause, ErrorCode, RunId};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::{oneshot, watch};

use super::actor::RunActor;
use super::handle::RunsHandle;
use super::hosted::HostedRun;
use super::message::{Progress, RunArgs, RunSupervisorInfo, RunSupervisorMsg};
use crate::supervision::{ChildEvent, ExitKind};

impl RunsHandle {
    /// Starts the supervisor of the runs, linked to `parent`.
    ///
    /// # Errors
    /// The error of ractor, if the parent is stopping.
    pub async fn start_supervisor(&self, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, RunSupervisor { runs: self.clone() }, (), parent).await?;
        Ok(actor.get_cell())
    }
}

/// The supervisor of all runs of this pod.
struct RunSupervisor {
    runs: RunsHandle,
}

impl Actor for RunSupervisor {
    type Msg = RunSupervisorMsg;
    type State = HashMap<ActorId, RunId>;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<RunSupervisorMsg>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        self.runs.set_supervisor(myself);
        Ok(HashMap::new())
    }

    async fn handle(
        &self,
        myself: ActorRef<RunSupervisorMsg>,
        message: RunSupervisorMsg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RunSupervisorMsg::Activate(args, port) => self.host(&myself, state, *args, port).await,
            // The caller may have dropped its request.
            RunSupervisorMsg::GetInfo(port) => drop(port.send(RunSupervisorInfo { hosted: self.runs.hosted() })),
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
            self.runs.hosted_runs().remove(&run, child);
            if exit != ExitKind::Stopped {
                tracing::error!(run.id = %run, child.exit = ?exit, child.reason = %reason, "actor of a run failed; recovery resumes the run");
            }
        }
        Ok(())
    }
}

impl RunSupervisor {
    async fn host(
        &self,
        myself: &ActorRef<RunSupervisorMsg>,
        state: &mut HashMap<ActorId, RunId>,
        args: RunArgs,
        port: oneshot::Sender<Result<(), Cause>>,
    ) {
        let run = args.run().clone();
        let (progress_sender, progress) = watch::channel(Progress::default());
        let (actor, start) = RunActor::new(args, progress_sender, self.runs.hosted_runs().clone());
        let context = start.context_version();
        let result = Actor::spawn_linked(None, actor, start, myself.get_cell()).await;
        let result = match result {
            Ok((actor, _)) => {
                state.insert(actor.get_id(), run.clone());
                let outcome = self.runs.hosted_runs().begin(run, HostedRun { actor, progress, context });
                outcome.map_err(|error| not_started_error(&*error))
            }
            Err(error) => Err(not_started_error(&error)),
        };
        // If the caller has dropped its request, the run continues.
        let _ = port.send(result);
    }
}

fn not_started_error(error: &dyn std::error::Error) -> Cause {
    Cause::new(ErrorCode::ShuttingDown, format!("the actor of the run could not be started: {error}"))
}
