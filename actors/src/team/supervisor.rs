//! The supervisor of all teams of this pod: it starts their actors, restarts those that have failed, and ends the run
//! of a team that fails too often. What survives a failed actor, and a failed supervisor, is in [`HostedTeam`]: the
//! queues of the members among it, so the jobs that wait for a member are executed by the next incarnation of the team.

use std::collections::HashMap;
use std::sync::Arc;

use greenroom_protocol::{CategoryId, Cause, ErrorCode, RunId};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::watch;
use tokio::time::Instant;

use super::actor::TeamActor;
use super::handle::{HostedTeam, Inner, TeamsHandle, ended_error, failed_error};
use super::message::{FormationReceiver, TeamArgs, TeamOrigin, TeamSupervisorInfo, TeamSupervisorMsg};
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
        // The teams of a failed supervisor have stopped with it; their runs continue, and wait for them.
        let hosted: Vec<RunId> = self.teams.hosted().keys().cloned().collect();
        for run in hosted {
            self.teams.expect_restart(&run);
            myself.send_message(TeamSupervisorMsg::Restart(run))?;
        }
        self.teams.set_supervisor(myself);
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
            TeamSupervisorMsg::Release(run, port) => {
                if let Some(hosted) = self.teams.find(&run) {
                    self.discard_team(state, &run, &hosted, "its run is parked");
                }
                // The caller may have dropped its request.
                let _ = port.send(());
            }
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
        let (run, known) = (args.run.clone(), inner.find(&args.run));
        let (member_handle, formation) = match known {
            Some(earlier) if matches!(args.origin, TeamOrigin::Call(_)) => {
                // The run that calls it was interrupted, so nobody waits for the earlier one.
                self.discard_team(state, &run, &earlier, "replaced");
                (self.new_member_handle()?, Arc::new(watch::Sender::new(None)))
            }
            // The request has formed the team before; its caller waits for the run.
            Some(hosted) if !matches!(args.origin, TeamOrigin::Restart) => return Ok(hosted.formation.subscribe()),
            Some(hosted) => (hosted.member_handle, hosted.formation),
            None => (self.new_member_handle()?, Arc::new(watch::Sender::new(None))),
        };
        let receiver = formation.subscribe();
        let (team, members, ticket) = (args.team.clone(), args.members.clone(), args.ticket.clone());
        let actor = TeamActor {
            team: team.clone(),
            run: run.clone(),
            members: members.clone(),
            runs: inner.runs.clone(),
            member_handle: member_handle.clone(),
            formation: Arc::clone(&formation),
        };
        let spawned = Actor::spawn_linked(None, actor, args, myself.get_cell()).await;
        let (actor, _) = spawned.map_err(|error| {
            Cause::new(ErrorCode::ShuttingDown, format!("the actor of the team could not be started: {error}"))
        })?;
        state.runs.insert(actor.get_id(), run.clone());
        let hosted = HostedTeam { actor, team, members: Arc::new(members), member_handle, formation, ticket };
        inner.hosted().insert(run, hosted);
        Ok(receiver)
    }

    fn new_member_handle(&self) -> Result<CategoryHandle, Cause> {
        let invalid_name = |error| Cause::new(ErrorCode::Internal, format!("the members have no name: {error}"));
        let name = CategoryId::new(MEMBERS_CATEGORY).map_err(invalid_name)?;
        Ok(CategoryHandle::new(name, self.teams.env.clone(), self.teams.config))
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
            RestartDecision::NoRestart => self.remove_team(state, &run, ended_error()),
            RestartDecision::RestartAfter(after) => {
                tracing::warn!(run.id = %run, child.exit = ?exit, child.reason = reason, "actor of a team failed and is restarted");
                self.teams.expect_restart(&run);
                let (me, run_id) = (myself.clone(), run.clone());
                state.restart_timers.run_after(run, after, move || {
                    // If the supervisor has stopped, the next one restarts all teams.
                    let _ = me.send_message(TeamSupervisorMsg::Restart(run_id));
                });
            }
            // The row says `EndRun`; one team must not end the others, whatever it says.
            RestartDecision::MaxRestarts(_) => {
                let cause = failed_error("the actor of the run's team failed too often");
                // First, so that the run does not fail because its team is unknown.
                self.teams.runs.terminate(&run, cause.clone());
                self.remove_team(state, &run, cause);
            }
        }
    }

    /// Removes a team that nobody waits for, and stops its actor.
    fn discard_team(&self, state: &mut TeamSupervisorState, run: &RunId, team: &HostedTeam, reason: &str) {
        state.restart_timers.abort(run);
        self.remove_team(state, run, ended_error());
        team.actor.stop(Some(reason.to_owned()));
    }

    /// Restarts a failed team for its run.
    async fn restart_team(&self, myself: &ActorRef<TeamSupervisorMsg>, state: &mut TeamSupervisorState, run: RunId) {
        state.restart_timers.acknowledge(&run);
        let inner = &self.teams;
        let Some(hosted) = inner.find(&run) else { return };
        if state.runs.contains_key(&hosted.actor.get_id()) {
            // It has replaced the failed one.
            return;
        }
        let members = hosted.members.as_ref().clone();
        let (team, since, ticket) = (hosted.team, Instant::now(), hosted.ticket);
        let args = TeamArgs { team, run: run.clone(), members, origin: TeamOrigin::Restart, since, ticket };
        match self.form(myself, state, Box::new(args)).await {
            Ok(_) => inner.runs.env().observer.on_event(ActorEvent::ChildRestarted { kind: ChildKind::Team.as_str() }),
            Err(cause) => self.on_team_exit(myself, state, run, ExitKind::Crashed, &cause.to_string()),
        }
    }

    /// Removes a team that is not started again. Jobs that still wait for a member, and callers that wait for the
    /// team, get a retryable cause.
    fn remove_team(&self, state: &mut TeamSupervisorState, run: &RunId, cause: Cause) {
        state.restarts.remove(run);
        let Some(hosted) = self.teams.hosted().remove(run) else { return };
        hosted.member_handle.close();
        hosted.formation.send_if_modified(|formation| {
            // A team may have ended before the caller that formed it has seen that it was formed.
            let is_awaited = formation.is_none();
            if is_awaited {
                *formation = Some(Err(cause));
            }
            is_awaited
        });
    }

    fn info(&self) -> TeamSupervisorInfo {
        let hosted = self.teams.hosted();
        TeamSupervisorInfo { teams: hosted.values().map(|hosted| hosted.team.clone()).collect() }
    }
}
