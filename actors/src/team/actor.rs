//! The actor of one team: it starts the members' supervisor, starts the run, and disbands when the run has ended.

use std::collections::BTreeSet;
use std::time::Duration;

use greenroom_protocol::{AgentId, Deadline, Reply, Request, RunId, TeamId};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::message::{FormationSender, TeamArgs, TeamInfo, TeamMsg, TeamOrigin, TeamRunStart};
use crate::category::CategoryHandle;
use crate::concurrency::OwnedTickets;
use crate::dispatcher::RunTicket;
use crate::observer::ActorEvent;
use crate::run::{RUN_TIME_MAX, RunsHandle};
use crate::supervision::linked_tasks::UNBOUNDED;
use crate::supervision::{
    ChildEvent, ChildKind, ExitKind, LinkedTasks, RestartDecision, RestartIntensity, TaskOutcome,
};

/// The kind of its one child, which selects the restart policy.
const MEMBERS: ChildKind = ChildKind::Members;

/// Delay before the end of a run is observed again after the store has failed.
const OBSERVE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// State of a team's actor.
pub(super) struct TeamState {
    tasks: LinkedTasks<&'static str>,
    members_supervisor: Option<ActorId>,
    restarts: RestartIntensity,
    members: Option<CategoryHandle>,
    port: Option<oneshot::Sender<Reply>>,
    detach: bool,
}

/// The actor of one team.
pub(super) struct TeamActor {
    pub(super) team: TeamId,
    pub(super) run: RunId,
    pub(super) members: BTreeSet<AgentId>,
    pub(super) runs: RunsHandle,
    pub(super) member_handle: CategoryHandle,
    pub(super) formation: FormationSender,
}

impl Actor for TeamActor {
    type Msg = TeamMsg;
    type State = TeamState;
    type Arguments = Box<TeamArgs>;

    async fn pre_start(&self, myself: ActorRef<TeamMsg>, args: Box<TeamArgs>) -> Result<TeamState, ActorProcessingErr> {
        myself.send_message(TeamMsg::Begin(args))?;
        Ok(TeamState {
            tasks: LinkedTasks::default(),
            members_supervisor: None,
            restarts: RestartIntensity::default(),
            members: None,
            port: None,
            detach: false,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<TeamMsg>,
        message: TeamMsg,
        state: &mut TeamState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TeamMsg::Begin(args) => self.begin(&myself, state, *args).await?,
            TeamMsg::RunEnded(outcome) => self.on_run_ended(&myself, state, outcome),
            TeamMsg::Disband => self.disband(&myself, state),
            TeamMsg::RestartMembers => self.restart_members(&myself, state).await?,
            // The caller may have dropped its request.
            TeamMsg::GetInfo(port) => drop(port.send(self.info(state))),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<TeamMsg>,
        event: SupervisionEvent,
        state: &mut TeamState,
    ) -> Result<(), ActorProcessingErr> {
        match ChildEvent::from_event(event) {
            ChildEvent::Ended { child, exit, reason } => self.on_child_exit(&myself, state, child, exit, &reason),
            ChildEvent::Started(_) | ChildEvent::Other => Ok(()),
        }
    }
}

impl TeamActor {
    async fn begin(
        &self,
        myself: &ActorRef<TeamMsg>,
        state: &mut TeamState,
        args: TeamArgs,
    ) -> Result<(), ActorProcessingErr> {
        let TeamArgs { origin, since, ticket, .. } = args;
        state.members_supervisor = Some(self.member_handle.start_supervisor(myself.get_cell()).await?.get_id());
        state.members = Some(self.member_handle.clone());
        self.formation.send_replace(Some(Ok(())));
        self.runs.env().observer.on_event(ActorEvent::TeamFormed { team: self.team.clone(), elapsed: since.elapsed() });
        match origin {
            TeamOrigin::Request(run_start) | TeamOrigin::Call(run_start) => {
                self.start_run(myself, state, run_start, ticket);
            }
            TeamOrigin::ResumedRun | TeamOrigin::Restart => self.await_end(myself, state),
        }
        Ok(())
    }

    /// Starts the run of the team, as the team.
    fn start_run(
        &self,
        myself: &ActorRef<TeamMsg>,
        state: &mut TeamState,
        run_start: TeamRunStart,
        ticket: Option<RunTicket>,
    ) {
        let TeamRunStart { grant, request, run, port } = run_start;
        (state.port, state.detach) = (Some(port), run.detach);
        let pipeline = self.runs.env().pipeline.clone();
        let (request, me) = (grant.issue_request_with_key(request, Request::StartRun(run)), myself.clone());
        let tickets = OwnedTickets::default().with_optional(ticket);
        let work = tickets.scope(async move { Box::new(pipeline.handle(request).await) });
        state.tasks.spawn("run", RUN_TIME_MAX, work, move |outcome| {
            // If the team has failed, the run continues, and its caller waits for the run.
            let _ = me.send_message(TeamMsg::RunEnded(outcome));
        });
    }

    /// Waits for the end of a run that has no waiting caller. The run ends by its own deadline, which moves while it
    /// waits for people, so its team has no other one.
    fn await_end(&self, myself: &ActorRef<TeamMsg>, state: &mut TeamState) {
        let (runs, run, me) = (self.runs.clone(), self.run.clone(), myself.clone());
        let work = async move {
            loop {
                let until = Deadline::after(runs.env().clock.now(), RUN_TIME_MAX);
                let Err(cause) = runs.wait_ended(&run, until).await else { return };
                tracing::debug!(run.id = %run, cause = %cause, "cannot observe the end of the run");
                if !cause.code.is_retryable() {
                    return;
                }
                tokio::time::sleep(OBSERVE_RETRY_DELAY).await;
            }
        };
        state.tasks.spawn("end", UNBOUNDED, work, move |_| {
            // If the team has stopped, it has disbanded already.
            let _ = me.send_message(TeamMsg::Disband);
        });
    }

    fn on_run_ended(&self, myself: &ActorRef<TeamMsg>, state: &mut TeamState, outcome: TaskOutcome<Box<Reply>>) {
        state.tasks.acknowledge(&"run");
        let run_continues = match outcome {
            TaskOutcome::Completed(reply) => {
                let run_continues = state.detach && reply.error.is_none();
                if let Some(port) = state.port.take() {
                    // The caller may have dropped its request.
                    let _ = port.send(*reply);
                }
                run_continues
            }
            // The caller finds its port closed and waits for the run.
            TaskOutcome::TimedOut | TaskOutcome::Panicked(_) => {
                state.port = None;
                true
            }
        };
        if run_continues { self.await_end(myself, state) } else { self.disband(myself, state) }
    }

    fn disband(&self, myself: &ActorRef<TeamMsg>, state: &mut TeamState) {
        if let Some(members) = state.members.take() {
            members.close();
        }
        myself.stop(Some("disbanded".to_owned()));
    }

    /// The members' supervisor is restarted by its restart policy; after that the team fails, and its own restart policy
    /// decides. Meanwhile jobs wait in the queues of the members.
    fn on_child_exit(
        &self,
        myself: &ActorRef<TeamMsg>,
        state: &mut TeamState,
        child: ActorId,
        exit: ExitKind,
        reason: &str,
    ) -> Result<(), ActorProcessingErr> {
        if state.members.is_none() || state.members_supervisor != Some(child) {
            return Ok(());
        }
        tracing::warn!(run.id = %self.run, child.kind = MEMBERS.as_str(), child.exit = ?exit, child.reason = %reason, "child ended");
        self.restart_by_policy(myself, state, exit)
    }

    fn restart_by_policy(
        &self,
        myself: &ActorRef<TeamMsg>,
        state: &mut TeamState,
        exit: ExitKind,
    ) -> Result<(), ActorProcessingErr> {
        match state.restarts.on_exit(&MEMBERS.restart_policy(), exit, Instant::now()) {
            RestartDecision::RestartAfter(delay) => {
                let me = myself.clone();
                state.tasks.run_after(MEMBERS.as_str(), delay, move || {
                    // If the team has stopped, so have its members.
                    let _ = me.send_message(TeamMsg::RestartMembers);
                });
                Ok(())
            }
            RestartDecision::NoRestart => {
                self.disband(myself, state);
                Ok(())
            }
            RestartDecision::MaxRestarts(_) => {
                Err(format!("the {} of the team exceeded its restart intensity", MEMBERS.as_str()).into())
            }
        }
    }

    async fn restart_members(
        &self,
        myself: &ActorRef<TeamMsg>,
        state: &mut TeamState,
    ) -> Result<(), ActorProcessingErr> {
        state.tasks.acknowledge(&MEMBERS.as_str());
        match self.member_handle.start_supervisor(myself.get_cell()).await {
            Ok(supervisor) => {
                state.members_supervisor = Some(supervisor.get_id());
                self.runs.env().observer.on_event(ActorEvent::ChildRestarted { kind: MEMBERS.as_str() });
                Ok(())
            }
            Err(reason) => {
                tracing::warn!(run.id = %self.run, child.kind = MEMBERS.as_str(), child.reason = %reason, "child could not start");
                self.restart_by_policy(myself, state, ExitKind::Crashed)
            }
        }
    }

    fn info(&self, state: &TeamState) -> TeamInfo {
        TeamInfo {
            team: self.team.clone(),
            run: self.run.clone(),
            members: self.members.iter().cloned().collect(),
            formed: state.members.is_some(),
        }
    }
}

impl Drop for TeamActor {
    fn drop(&mut self) {
        // Dropped on every kind of exit, so every disbanding is reported.
        self.runs.env().observer.on_event(ActorEvent::TeamDisbanded(self.team.clone()));
    }
}
