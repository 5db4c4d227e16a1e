//! The supervisor of all teams of this pod, and the handle that forms and invokes teams.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use greenroom_protocol::request::{ContextRead, ContextWrite, StartRun, StartTeam};
use greenroom_protocol::{AgentId, CategoryId, Cause, ErrorCode, Outcome, Reply, RunId, TeamId, Values};
use greenroom_registry::idempotency::KeyStatus;
use greenroom_rego::{Grant, Permitted};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::actor::{TeamActor, TeamArgs, TeamHandles, TeamInfo, TeamMsg, TeamRunStart};
use super::setup::{initial_context, member_ids, run_request};
use crate::agent::ExecutionResult;
use crate::category::{CategoryConfig, CategoryHandle};
use crate::dispatcher::TeamHost;
use crate::execution::ExecutionEnv;
use crate::execution::invocation::Invocation;
use crate::observer::ActorEvent;
use crate::run::{RunsHandle, TeamRestorer, into_reply, team_dedup_key};
use crate::supervision::{ChildEvent, ChildKind, LinkedTasks, RestartDecision, RestartIntensity};

/// Longest wait for introspection of an actor, in milliseconds.
const INFO_WAIT_MS_MAX: u64 = 1_000;
/// Name of the category that supervises the members of a team.
const MEMBERS_CATEGORY: &str = "members";

type FormationReceiver = watch::Receiver<Option<Result<TeamHandles, Cause>>>;

/// A hosted team, as other actors see it.
#[derive(Clone)]
struct HostedTeam {
    actor: ActorRef<TeamMsg>,
    team: TeamId,
    members: Arc<BTreeSet<AgentId>>,
    formation: FormationReceiver,
}

struct Inner {
    runs: RunsHandle,
    env: Arc<ExecutionEnv>,
    config: CategoryConfig,
    hosted: Mutex<HashMap<RunId, HostedTeam>>,
    actor: Mutex<Option<ActorRef<TeamSupervisorMsg>>>,
}

/// The handle of the teams of this pod. Cheap to clone.
#[derive(Clone)]
pub struct TeamsHandle {
    inner: Arc<Inner>,
}

impl TeamsHandle {
    /// Creates the handle; [`TeamSupervisor::start_linked`] starts its supervisor. A resumed run restores its team
    /// through this handle.
    #[must_use]
    pub fn new(runs: RunsHandle, env: Arc<ExecutionEnv>, config: CategoryConfig) -> Self {
        let inner = Arc::new(Inner { runs, env, config, hosted: Mutex::default(), actor: Mutex::default() });
        let restorer: Arc<dyn TeamRestorer> = inner.clone();
        inner.runs.set_team_restorer(Arc::downgrade(&restorer));
        Self { inner }
    }

    /// Introspection of the supervisor; `None` if it does not run.
    pub async fn info(&self) -> Option<TeamSupervisorInfo> {
        let supervisor = self.inner.supervisor().ok()?;
        ractor::call_t!(supervisor, TeamSupervisorMsg::GetInfo, INFO_WAIT_MS_MAX).ok()
    }

    /// Introspection of a team's actor; `None` if this pod hosts no team for this run.
    pub async fn team_info(&self, run: &RunId) -> Option<TeamInfo> {
        let hosted = self.inner.find(run)?;
        ractor::call_t!(hosted.actor, TeamMsg::GetInfo, INFO_WAIT_MS_MAX).ok()
    }
}

#[cfg(test)]
impl TeamsHandle {
    pub(super) fn kill_team(&self, run: &RunId) {
        self.inner.find(run).unwrap().actor.kill();
    }

    pub(crate) fn context(&self, run: &RunId) -> crate::context::ContextHandle {
        self.inner.formed_team(run).unwrap().1.context
    }
}

impl Inner {
    fn find(&self, run: &RunId) -> Option<HostedTeam> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner).get(run).cloned()
    }

    fn supervisor(&self) -> Result<ActorRef<TeamSupervisorMsg>, Cause> {
        let actor = self.actor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        actor.ok_or_else(|| Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down and accepts no new requests"))
    }

    /// Starts a team's actor and waits until the team is formed.
    async fn form(&self, args: TeamArgs) -> Result<(), Cause> {
        let shutting_down_error =
            || Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down and accepts no new requests");
        let (port, hosted) = oneshot::channel();
        self.supervisor()?
            .send_message(TeamSupervisorMsg::Form(Box::new(args), port))
            .map_err(|_| shutting_down_error())?;
        let mut formation = hosted.await.map_err(|_| shutting_down_error())??;
        let formed = formation.wait_for(Option::is_some).await.map_err(|_| shutting_down_error())?.clone();
        formed.unwrap_or_else(|| Err(shutting_down_error())).map(drop)
    }

    /// The team of a run, if it is formed.
    fn formed_team(&self, run: &RunId) -> Option<(HostedTeam, TeamHandles)> {
        let hosted = self.find(run)?;
        let formed = hosted.formation.borrow().clone()?.ok()?;
        Some((hosted, formed))
    }

    async fn try_start(&self, permit: Permitted<StartTeam>) -> Result<Reply, Cause> {
        let since = Instant::now();
        let (grant, start) = permit.redeem();
        let run = grant.run().cloned().ok_or_else(|| Cause::new(ErrorCode::Internal, "the permit forms no team"))?;
        let env = self.runs.env();
        let catalogue = env.resolver.catalogue();
        let team = catalogue.require_team(&start.team)?;
        if grant.version() != Some(&team.hash()) {
            let message = "the team's definition changed while the request was authorized; send it again";
            return Err(Cause::new(ErrorCode::VersionConflict, message));
        }
        let context = initial_context(team, &start.context);
        let (until, request) = (grant.deadline(), grant.request_id().clone());
        let run_request = run_request(team, start, context.clone(), &grant);
        if let Some(reply) = self.find_existing_run(&grant, &run_request).await? {
            return Ok(reply);
        }
        let (port, reply) = oneshot::channel();
        let run_start = TeamRunStart { grant, request, run: run_request, port };
        let (team, members) = (team.id().clone(), member_ids(team, &catalogue));
        self.form(TeamArgs { team, run: run.clone(), members, context, run_start: Some(run_start), since }).await?;
        match reply.await {
            Ok(reply) => Ok(reply),
            // The team has failed; its run continues.
            Err(_closed) => self.runs.wait_ended(&run, until).await,
        }
    }

    /// The reply to a repeated request: that of its first run, without another team. Two concurrent requests may both
    /// form a team; there is still one run.
    async fn find_existing_run(&self, grant: &Grant, start: &StartRun) -> Result<Option<Reply>, Cause> {
        let Some((body, key)) = team_dedup_key(start) else { return Ok(None) };
        let known = self.runs.env().stores.idempotency.lookup(&grant.principal().tenant, &key, &body).await;
        match known.map_err(|error| error.cause())? {
            KeyStatus::RunStarted(run) if start.detach => {
                self.runs.wait_accepted(&run, grant.deadline()).await.map(Some)
            }
            KeyStatus::RunStarted(run) => self.runs.wait_ended(&run, grant.deadline()).await.map(Some),
            KeyStatus::Conflict => {
                let message = "the idempotency key was used before with another request";
                Err(Cause::new(ErrorCode::IdempotencyConflict, message))
            }
            KeyStatus::New | KeyStatus::InProgress | KeyStatus::Completed(_) => Ok(None),
        }
    }

    fn unknown_run_error(run: &RunId) -> Cause {
        Cause::new(ErrorCode::UnknownRun, format!("no team runs here for `{run}`"))
    }
}

#[async_trait]
impl TeamRestorer for Inner {
    async fn restore_team(&self, run: &RunId, team: &TeamId, members: &[AgentId]) -> Result<(), Cause> {
        if self.find(run).is_some() {
            return Ok(());
        }
        let (team, run, members) = (team.clone(), run.clone(), members.iter().cloned().collect());
        let args = TeamArgs { team, run, members, context: Values::new(), run_start: None, since: Instant::now() };
        self.form(args).await
    }
}

#[async_trait]
impl TeamHost for TeamsHandle {
    async fn start(&self, permit: Permitted<StartTeam>) -> Reply {
        let id = permit.grant().request_id().clone();
        into_reply(&id, self.inner.try_start(permit).await)
    }

    async fn invoke(&self, run: &RunId, invocation: Box<Invocation>) -> Result<ExecutionResult, Box<Invocation>> {
        match self.inner.formed_team(run) {
            Some((hosted, formed)) if hosted.members.contains(invocation.agent.id()) => {
                Ok(formed.members.invoke(invocation).await)
            }
            Some(_) | None => Err(invocation),
        }
    }

    async fn read(&self, permit: Permitted<ContextRead>) -> Result<Outcome, Cause> {
        let run = permit.request().run.clone();
        let (_, formed) = self.inner.formed_team(&run).ok_or_else(|| Inner::unknown_run_error(&run))?;
        formed.context.read(permit).await
    }

    async fn write(&self, permit: Permitted<ContextWrite>) -> Result<Outcome, Cause> {
        let run = permit.request().run.clone();
        let (_, formed) = self.inner.formed_team(&run).ok_or_else(|| Inner::unknown_run_error(&run))?;
        formed.context.write(permit).await
    }
}

/// Messages of the team supervisor.
pub(super) enum TeamSupervisorMsg {
    /// Form this team.
    Form(Box<TeamArgs>, oneshot::Sender<Result<FormationReceiver, Cause>>),
    /// Restart the team of a run.
    Restart(RunId),
    /// Return introspection data.
    GetInfo(RpcReplyPort<TeamSupervisorInfo>),
}

impl ractor::Message for TeamSupervisorMsg {}

/// Introspection of the team supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TeamSupervisorInfo {
    /// Teams that this pod hosts.
    pub teams: Vec<TeamId>,
}

/// The supervisor of all teams of this pod.
pub struct TeamSupervisor {
    teams: TeamsHandle,
}

impl TeamSupervisor {
    /// Starts the supervisor, linked to `parent`.
    ///
    /// # Errors
    /// The error of ractor, if the parent is stopping.
    pub async fn start_linked(teams: TeamsHandle, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, TeamSupervisorActor(Self { teams }), (), parent).await?;
        Ok(actor.get_cell())
    }
}

/// The actor behind [`TeamSupervisor`]; its messages are private to this module.
struct TeamSupervisorActor(TeamSupervisor);

/// State of the team supervisor.
#[derive(Default)]
struct TeamSupervisorState {
    runs: HashMap<ActorId, RunId>,
    restarts: HashMap<RunId, RestartIntensity>,
    restart_timers: LinkedTasks<RunId>,
}

impl Actor for TeamSupervisorActor {
    type Msg = TeamSupervisorMsg;
    type State = TeamSupervisorState;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<TeamSupervisorMsg>,
        (): (),
    ) -> Result<TeamSupervisorState, ActorProcessingErr> {
        let inner = &self.0.teams.inner;
        // The teams of a failed supervisor have stopped with it; their runs continue without them and fail.
        inner.hosted.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *inner.actor.lock().unwrap_or_else(PoisonError::into_inner) = Some(myself);
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
        {
            let restarts = state.restarts.entry(run.clone()).or_default();
            match restarts.on_exit(&ChildKind::Team.restart_policy(), exit, Instant::now()) {
                RestartDecision::NoRestart => self.remove_team(state, &run),
                RestartDecision::RestartAfter(after) => {
                    tracing::warn!(run.id = %run, child.exit = ?exit, child.reason = %reason, "actor of a team failed and is restarted");
                    let me = myself;
                    let wait = tokio::time::sleep(after);
                    let run_id = run.clone();
                    state.restart_timers.spawn(run, after.saturating_mul(2), wait, move |_| {
                        // If the supervisor has stopped, so have all teams.
                        let _ = me.send_message(TeamSupervisorMsg::Restart(run_id));
                    });
                }
                RestartDecision::MaxRestarts(_) => {
                    self.remove_team(state, &run);
                    let cause = Cause::new(ErrorCode::AgentCrashed, "the actor of the run's team failed too often");
                    self.0.teams.inner.runs.terminate(&run, cause);
                }
            }
        }
        Ok(())
    }
}

impl TeamSupervisorActor {
    async fn form(
        &self,
        myself: &ActorRef<TeamSupervisorMsg>,
        state: &mut TeamSupervisorState,
        args: Box<TeamArgs>,
    ) -> Result<FormationReceiver, Cause> {
        let inner = &self.0.teams.inner;
        let invalid_name = |error| Cause::new(ErrorCode::Internal, format!("the members have no name: {error}"));
        let name = CategoryId::new(MEMBERS_CATEGORY).map_err(invalid_name)?;
        let member_handle = CategoryHandle::new(name, inner.env.clone(), inner.config);
        let (formation, formation_receiver) = watch::channel(None);
        let (team, run, members) = (args.team.clone(), args.run.clone(), args.members.clone());
        let known = Arc::new(members.clone());
        let runs = inner.runs.clone();
        let actor = TeamActor { team: team.clone(), run: run.clone(), members, runs, member_handle, formation };
        let spawned = Actor::spawn_linked(None, actor, args, myself.get_cell()).await;
        let (actor, _) = spawned.map_err(|error| {
            Cause::new(ErrorCode::ShuttingDown, format!("the actor of the team could not be started: {error}"))
        })?;
        state.runs.insert(actor.get_id(), run.clone());
        let hosted = HostedTeam { actor, team, members: known, formation: formation_receiver.clone() };
        inner.hosted.lock().unwrap_or_else(PoisonError::into_inner).insert(run, hosted);
        Ok(formation_receiver)
    }

    /// Restarts a failed team for its run.
    async fn restart_team(&self, myself: &ActorRef<TeamSupervisorMsg>, state: &mut TeamSupervisorState, run: RunId) {
        state.restart_timers.acknowledge(&run);
        let inner = &self.0.teams.inner;
        let Some(hosted) = inner.find(&run) else { return };
        let members = hosted.members.as_ref().clone();
        let (team, context) = (hosted.team, Values::new());
        let args = TeamArgs { team, run: run.clone(), members, context, run_start: None, since: Instant::now() };
        match self.form(myself, state, Box::new(args)).await {
            Ok(_) => inner.runs.env().observer.on_event(ActorEvent::ChildRestarted { kind: ChildKind::Team.as_str() }),
            Err(cause) => inner.runs.terminate(&run, cause),
        }
    }

    fn remove_team(&self, state: &mut TeamSupervisorState, run: &RunId) {
        state.restarts.remove(run);
        self.0.teams.inner.hosted.lock().unwrap_or_else(PoisonError::into_inner).remove(run);
    }

    fn info(&self) -> TeamSupervisorInfo {
        let hosted = self.0.teams.inner.hosted.lock().unwrap_or_else(PoisonError::into_inner);
        TeamSupervisorInfo { teams: hosted.values().map(|hosted| hosted.team.clone()).collect() }
    }
}
