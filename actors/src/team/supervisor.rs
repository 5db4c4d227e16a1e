//! The supervisor of all teams of this pod: it starts their actors, restarts those that have failed, and ends the run
//! of a team that fails too often.

use std::collections::HashMap;
use std::sync::Arc;

use greenroom_protocol::{CategoryId, Cause, ErrorCode, RunId, Values};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::watch;
use tokio::time::Instant;

use super::actor::TeamActor;
use super::handle::{HostedTeam, Inner, TeamsHandle};
use super::message::{FormationReceiver, TeamArgs, TeamSupervisorInfo, TeamSupervisorMsg};
use crate::category::CategoryHandle;
use crate::observer::ActorEvent;
use crate::supervision::{ChildEvent, ChildKind, ExitKind, LinkedTasks, RestartDecision, RestartIntensity};

/// Name of the category that supervises the members of a team.
const MEMBERS_CATEGORY: &str = "members";

impl TeamsHandle {
    /// Starts the supervisor of the teams, linked to `parent`.
    ///
    /// # Errors
    /// The error of ractor, if the parent is stopping.
    pub async fn start_supervisor(&self, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, TeamSupervisor { teams: self.inner.clone() }, (), parent).await?;
        Ok(actor.get_cell())
    }
}

/// The supervisor of all teams of this pod.
struct TeamSupervisor {
    teams: Arc<Inner>,
}

/// State of the team supervisor.
#[derive(Default)]
struct TeamSupervisorState {
    runs: HashMap<ActorId, RunId>,
    restarts: HashMap<RunId, RestartIntensity>,
    restart_timers: LinkedTasks<RunId>,
}

impl Actor for TeamSupervisor {
    type Msg = TeamSupervisorMsg;
    type State = TeamSupervisorState;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<TeamSupervisorMsg>,
        (): (),
    ) -> Result<TeamSupervisorState, ActorProcessingErr> {
        let inner = &self.teams;
        // The teams of a failed supervisor have stopped with it; their runs continue without them and fail.
        inner.hosted().clear();
        inner.set_supervisor(myself);
        Ok(TeamSupervisorState::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<TeamSupervisorMsg>,
        message: TeamSupervisorMsg,
        state: &mut TeamSupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TeamSupervisorMsg::Form(args, port) => {
                // If the caller has dropped its request, the team continues until its run has ended.
                let _ = port.send(self.form(&myself, state, args).await);
            }
            TeamSupervisorMsg::Restart(run) => self.restart_team(&myself, state, run).await,
            TeamSupervisorMsg::GetInfo(port) => drop(port.send(self.info())),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<TeamSupervisorMsg>,
        event: SupervisionEvent,
        state: &mut TeamSupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        if let ChildEvent::Ended { child, exit, reason } = ChildEvent::from_event(event)
            && let Some(run) = state.runs.remove(&child)
            // Another team may have been formed for the run meanwhile.
            && self.teams.find(&run).is_some_and(|hosted| hosted.actor.get_id() == child)
        {
            self.on_team_exit(&myself, state, run, exit, &reason);
        }
        Ok(())
    }
}

impl TeamSupervisor {
    async fn form(
        &self,
        myself: &ActorRef<TeamSupervisorMsg>,
        state: &mut TeamSupervisorState,
        args: Box<TeamArgs>,
    ) -> Result<FormationReceiver, Cause> {
        let inner = &self.teams;
        let invalid_name = |error| Cause::new(ErrorCode::Internal, format!("the members have no name: {error}"));
        let name = CategoryId::new(MEMBERS_CATEGORY).map_err(invalid_name)?;
        let member_handle = CategoryHandle::new(name, inner.env.clone(), inner.config);
        let (formation, formation_receiver) = watch::channel(None);
        let (team, run, members) = (args.team.clone(), args.run.clone(), args.members.clone());
        let ticket = args.ticket.clone();
        let known = Arc::new(members.clone());
        let runs = inner.runs.clone();
        let actor = TeamActor { team: team.clone(), run: run.clone(), members, runs, member_handle, formation };
        let spawned = Actor::spawn_linked(None, actor, args, myself.get_cell()).await;
        let (actor, _) = spawned.map_err(|error| {
            Cause::new(ErrorCode::ShuttingDown, format!("the actor of the team could not be started: {error}"))
        })?;
        state.runs.insert(actor.get_id(), run.clone());
        let hosted = HostedTeam { actor, team, members: known, formation: formation_receiver.clone(), ticket };
        inner.hosted().insert(run, hosted);
        Ok(formation_receiver)
    }

    /// Restarts a team that has failed, or that did not start again, after the delay of its restart policy.
    fn on_team_exit(
        &self,
        myself: &ActorRef<TeamSupervisorMsg>,
        state: &mut TeamSupervisorState,
        run: RunId,
        exit: ExitKind,
        reason: &str,
    ) {
        let restarts = state.restarts.entry(run.clone()).or_default();
        match restarts.on_exit(&ChildKind::Team.restart_policy(), exit, Instant::now()) {
            RestartDecision::NoRestart => self.remove_team(state, &run),
            RestartDecision::RestartAfter(after) => {
                tracing::warn!(run.id = %run, child.exit = ?exit, child.reason = reason, "actor of a team failed and is restarted");
                let (me, run_id) = (myself.clone(), run.clone());
                state.restart_timers.run_after(run, after, move || {
                    // If the supervisor has stopped, so have all teams.
                    let _ = me.send_message(TeamSupervisorMsg::Restart(run_id));
                });
            }
            RestartDecision::MaxRestarts(_) => {
                self.remove_team(state, &run);
                let cause = Cause::new(ErrorCode::AgentCrashed, "the actor of the run's team failed too often");
                self.teams.runs.terminate(&run, cause);
            }
        }
    }

    /// Restarts a failed team for its run.
    async fn restart_team(&self, myself: &ActorRef<TeamSupervisorMsg>, state: &mut TeamSupervisorState, run: RunId) {
        state.restart_timers.acknowledge(&run);
        let inner = &self.teams;
        let Some(hosted) = inner.find(&run) else { return };
        let members = hosted.members.as_ref().clone();
        let (team, context, since, ticket) = (hosted.team, Values::new(), Instant::now(), hosted.ticket);
        let args = TeamArgs { team, run: run.clone(), members, context, run_start: None, since, ticket };
        match self.form(myself, state, Box::new(args)).await {
            Ok(_) => inner.runs.env().observer.on_event(ActorEvent::ChildRestarted { kind: ChildKind::Team.as_str() }),
            Err(cause) => self.on_team_exit(myself, state, run, ExitKind::Crashed, &cause.to_string()),
        }
    }

    fn remove_team(&self, state: &mut TeamSupervisorState, run: &RunId) {
        state.restarts.remove(run);
        self.teams.hosted().remove(run);
    }

    fn info(&self) -> TeamSupervisorInfo {
        let hosted = self.teams.hosted();
        TeamSupervisorInfo { teams: hosted.values().map(|hosted| hosted.team.clone()).collect() }
    }
}
