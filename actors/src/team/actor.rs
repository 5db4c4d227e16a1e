//! The actor of one team: it opens the context, seats the members' supervisor, begins the run, and
//! disbands when the run has ended.

use std::collections::BTreeSet;
use std::time::Duration;

use greenroom_protocol::request::StartRun;
use greenroom_protocol::{AgentId, Cause, Deadline, Reply, Request, RequestId, RunId, TeamId, Values};
use greenroom_rego::Grant;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::category::{CategoryHandle, CategorySupervisor};
use crate::context::{ContextHandle, SharedContext};
use crate::observer::ActorEvent;
use crate::run::{RUN_TIME_MAX, RunsHandle};
use crate::supervision::{
    ChildEvent, ChildKind, ExitKind, LinkedTasks, RestartDecision, RestartIntensity, TaskOutcome,
};

/// The run that a team begins, as whom, and who waits for it.
pub(super) struct TeamRunStart {
    pub(super) grant: Grant,
    pub(super) request: RequestId,
    pub(super) run: StartRun,
    pub(super) port: oneshot::Sender<Reply>,
}

/// What a team's actor is spawned with.
pub(super) struct TeamArgs {
    pub(super) team: TeamId,
    pub(super) run: RunId,
    pub(super) members: BTreeSet<AgentId>,
    pub(super) context: Values,
    /// None if the team comes back to a run that is under way.
    pub(super) begins: Option<TeamRunStart>,
    pub(super) since: Instant,
}

/// What others reach of a team that has been formed.
#[derive(Clone)]
pub(super) struct TeamHandles {
    pub(super) context: ContextHandle,
    pub(super) members: CategoryHandle,
}

/// How far a team is.
pub(super) type FormationSender = watch::Sender<Option<Result<TeamHandles, Cause>>>;

/// What a team is told.
pub(super) enum TeamMsg {
    /// Form.
    Begin(Box<TeamArgs>),
    /// The run was answered for, or has ended.
    RunEnded(TaskOutcome<Box<Reply>>),
    /// The run that goes on without a waiting caller has ended.
    Disband,
    /// Tell of yourself.
    Observe(RpcReplyPort<TeamInfo>),
}

impl ractor::Message for TeamMsg {}

/// What a team's actor tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TeamInfo {
    /// Which team.
    pub team: TeamId,
    /// For which run.
    pub run: RunId,
    /// Its members.
    pub members: Vec<AgentId>,
    /// True once it has been formed.
    pub formed: bool,
}

/// What a team's actor holds.
pub(super) struct TeamState {
    tasks: LinkedTasks<&'static str>,
    context: Option<ActorId>,
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
    pub(super) seat: CategoryHandle,
    pub(super) forming: FormationSender,
}

impl Actor for TeamActor {
    type Msg = TeamMsg;
    type State = TeamState;
    type Arguments = Box<TeamArgs>;

    async fn pre_start(&self, myself: ActorRef<TeamMsg>, seed: Box<TeamArgs>) -> Result<TeamState, ActorProcessingErr> {
        myself.send_message(TeamMsg::Begin(seed))?;
        Ok(TeamState {
            tasks: LinkedTasks::default(),
            context: None,
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
            TeamMsg::Begin(seed) => self.begin(&myself, state, *seed).await?,
            TeamMsg::RunEnded(ended) => self.run_ended(&myself, state, ended),
            TeamMsg::Disband => self.disband(&myself, state),
            // Who has gone away does not need to know.
            TeamMsg::Observe(port) => drop(port.send(self.info(state))),
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
            ChildEvent::Ended { child: who, exit: how, reason: why } => {
                self.on_child_exit(&myself, state, who, how, &why).await
            }
            ChildEvent::Started(_) | ChildEvent::Other => Ok(()),
        }
    }
}

impl TeamActor {
    async fn begin(
        &self,
        myself: &ActorRef<TeamMsg>,
        state: &mut TeamState,
        seed: TeamArgs,
    ) -> Result<(), ActorProcessingErr> {
        let TeamArgs { context, begins, since, .. } = seed;
        if let Err(cause) = self.form(myself, state, context).await? {
            tracing::warn!(team.id = %self.team, run.id = %self.run, cause = %cause, "team could not be formed");
            self.forming.send_replace(Some(Err(cause)));
            self.disband(myself, state);
            return Ok(());
        }
        let env = self.runs.env();
        env.observer.on_event(ActorEvent::TeamFormed { team: self.team.clone(), elapsed: since.elapsed() });
        let me = myself.clone();
        match begins {
            Some(TeamRunStart { grant, request, run, port }) => {
                state.port = Some(port);
                state.detach = run.detach;
                let (pipeline, asked) = (env.pipeline.clone(), grant.issue_request(request, Request::StartRun(run)));
                state.tasks.spawn(
                    "run",
                    RUN_TIME_MAX,
                    async move { Box::new(pipeline.enter(asked).await) },
                    move |ended| {
                        // If the team is dead, the run goes on, and its caller waits for that.
                        let _ = me.send_message(TeamMsg::RunEnded(ended));
                    },
                );
            }
            None => self.await_end(myself, state),
        }
        Ok(())
    }

    async fn form(
        &self,
        myself: &ActorRef<TeamMsg>,
        state: &mut TeamState,
        context: Values,
    ) -> Result<Result<(), Cause>, ActorProcessingErr> {
        let env = self.runs.env();
        let opened =
            SharedContext::open(self.run.clone(), context, env.stores.context.clone(), env.clock.clone()).await;
        let opened = match opened {
            Ok(opened) => opened,
            Err(cause) => return Ok(Err(cause)),
        };
        let (context, cell) = opened.start_linked(myself.get_cell()).await?;
        state.context = Some(cell.get_id());
        state.members_supervisor =
            Some(CategorySupervisor::start_linked(self.seat.clone(), myself.get_cell()).await?.get_id());
        state.members = Some(self.seat.clone());
        self.forming.send_replace(Some(Ok(TeamHandles { context, members: self.seat.clone() })));
        Ok(Ok(()))
    }

    /// Waits for the end of a run that nobody else waits for in the team's name.
    fn await_end(&self, myself: &ActorRef<TeamMsg>, state: &mut TeamState) {
        let (runs, run, me) = (self.runs.clone(), self.run.clone(), myself.clone());
        let work = async move {
            let until = Deadline::after(runs.env().clock.now(), RUN_TIME_MAX);
            if let Err(cause) = runs.wait_ended(&run, until).await {
                tracing::debug!(run.id = %run, cause = %cause, "run's end was not seen");
            }
        };
        state.tasks.spawn("end", RUN_TIME_MAX.saturating_add(Duration::from_secs(60)), work, move |_| {
            // If the team is dead, it has disbanded already.
            let _ = me.send_message(TeamMsg::Disband);
        });
    }

    fn run_ended(&self, myself: &ActorRef<TeamMsg>, state: &mut TeamState, ended: TaskOutcome<Box<Reply>>) {
        state.tasks.acknowledge(&"run");
        let goes_on = match ended {
            TaskOutcome::Completed(reply) => {
                let goes_on = state.detach && reply.error.is_none();
                if let Some(port) = state.port.take() {
                    // Who has gone away does not need the reply.
                    let _ = port.send(*reply);
                }
                goes_on
            }
            // The caller finds his port closed, and waits for the run itself.
            TaskOutcome::TimedOut | TaskOutcome::Panicked(_) => {
                state.port = None;
                true
            }
        };
        if goes_on { self.await_end(myself, state) } else { self.disband(myself, state) }
    }

    fn disband(&self, myself: &ActorRef<TeamMsg>, state: &mut TeamState) {
        if let Some(members) = state.members.take() {
            members.close();
        }
        myself.stop(Some("disbanded".to_owned()));
    }

    /// The members' supervisor and the context come back as often as their rule allows; then the team
    /// dies, and its own rule decides.
    async fn on_child_exit(
        &self,
        myself: &ActorRef<TeamMsg>,
        state: &mut TeamState,
        who: ActorId,
        how: ExitKind,
        why: &str,
    ) -> Result<(), ActorProcessingErr> {
        let (is_context, is_desk) = (state.context == Some(who), state.members_supervisor == Some(who));
        if state.members.is_none() || !(is_context || is_desk) {
            return Ok(());
        }
        let kind = if is_context { ChildKind::Context } else { ChildKind::Category };
        tracing::warn!(run.id = %self.run, child.kind = kind.as_str(), child.how = ?how, child.why = %why, "child ended");
        match state.restarts.on_exit(&kind.rule(), how, Instant::now()) {
            RestartDecision::RestartAfter(_) if is_desk => {
                state.members_supervisor =
                    Some(CategorySupervisor::start_linked(self.seat.clone(), myself.get_cell()).await?.get_id());
            }
            RestartDecision::RestartAfter(_) => {
                if let Err(cause) = self.form_context(myself, state).await? {
                    return Err(Box::new(cause));
                }
            }
            // It was fenced: another pod has the team.
            RestartDecision::Stay => {
                self.disband(myself, state);
                return Ok(());
            }
            RestartDecision::MaxRestarts(_) => {
                return Err(format!("the {} of the team died too often", kind.as_str()).into());
            }
        }
        self.runs.env().observer.on_event(ActorEvent::ChildRestarted { kind: kind.as_str() });
        Ok(())
    }

    async fn form_context(
        &self,
        myself: &ActorRef<TeamMsg>,
        state: &mut TeamState,
    ) -> Result<Result<(), Cause>, ActorProcessingErr> {
        let env = self.runs.env();
        let (store, clock) = (env.stores.context.clone(), env.clock.clone());
        let opened = match SharedContext::open(self.run.clone(), Values::new(), store, clock).await {
            Ok(opened) => opened,
            Err(cause) => return Ok(Err(cause)),
        };
        let (context, cell): (ContextHandle, ActorCell) = opened.start_linked(myself.get_cell()).await?;
        state.context = Some(cell.get_id());
        self.forming.send_replace(Some(Ok(TeamHandles { context, members: self.seat.clone() })));
        Ok(Ok(()))
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
        // However the team ended, this is when it has gone.
        self.runs.env().observer.on_event(ActorEvent::TeamDisbanded(self.team.clone()));
    }
}
