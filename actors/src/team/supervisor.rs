//! The supervisor of all teams of this pod, and the handle through which teams are formed and reached.

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
use super::setup::{members, run_of, shared};
use crate::agent::ExecutionResult;
use crate::category::{CategoryConfig, CategoryHandle};
use crate::dispatcher::TeamHost;
use crate::execution::ExecutionEnv;
use crate::execution::invocation::Invocation;
use crate::observer::ActorEvent;
use crate::run::{RunsHandle, TeamRestorer, reply_to, team_dedup_key};
use crate::supervision::{ChildEvent, ChildKind, LinkedTasks, RestartDecision, RestartIntensity};

/// How long an actor may take to tell of itself, in milliseconds.
const OBSERVE_MS_MAX: u64 = 1_000;
/// Under which name the members of a team are supervised.
const MEMBERS: &str = "members";

type FormationReceiver = watch::Receiver<Option<Result<TeamHandles, Cause>>>;

/// A team that is hosted here, as the others see it.
#[derive(Clone)]
struct HostedTeam {
    actor: ActorRef<TeamMsg>,
    team: TeamId,
    members: Arc<BTreeSet<AgentId>>,
    forms: FormationReceiver,
}

struct Inner {
    runs: RunsHandle,
    env: Arc<ExecutionEnv>,
    manners: CategoryConfig,
    hosted: Mutex<HashMap<RunId, HostedTeam>>,
    actor: Mutex<Option<ActorRef<TeamSupervisorMsg>>>,
}

/// The way to the teams of this pod. Cheap to clone.
#[derive(Clone)]
pub struct TeamsHandle {
    inner: Arc<Inner>,
}

impl TeamsHandle {
    /// Teams without a supervisor yet; [`TeamsActor::spawn_under`] gives them one. A run of a team that
    /// is taken up again finds its team through this.
    #[must_use]
    pub fn new(runs: RunsHandle, env: Arc<ExecutionEnv>, manners: CategoryConfig) -> Self {
        let inner = Arc::new(Inner { runs, env, manners, hosted: Mutex::default(), actor: Mutex::default() });
        let company: Arc<dyn TeamRestorer> = inner.clone();
        inner.runs.set_team_restorer(Arc::downgrade(&company));
        Self { inner }
    }

    /// What the supervisor tells of itself; `None` if there is none now.
    pub async fn observe(&self) -> Option<TeamSupervisorInfo> {
        let supervisor = self.inner.supervisor().ok()?;
        ractor::call_t!(supervisor, TeamSupervisorMsg::Observe, OBSERVE_MS_MAX).ok()
    }

    /// What a team's actor tells of itself; `None` if there is none for this run.
    pub async fn team_info(&self, run: &RunId) -> Option<TeamInfo> {
        let hosted = self.inner.find(run)?;
        ractor::call_t!(hosted.actor, TeamMsg::Observe, OBSERVE_MS_MAX).ok()
    }
}

#[cfg(test)]
impl TeamsHandle {
    pub(super) fn kill_team(&self, run: &RunId) {
        self.inner.find(run).unwrap().actor.kill();
    }

    pub(crate) fn context(&self, run: &RunId) -> crate::context::ContextHandle {
        self.inner.formed(run).unwrap().1.context
    }
}

impl Inner {
    fn find(&self, run: &RunId) -> Option<HostedTeam> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner).get(run).cloned()
    }

    fn supervisor(&self) -> Result<ActorRef<TeamSupervisorMsg>, Cause> {
        let actor = self.actor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        actor.ok_or_else(|| Cause::new(ErrorCode::ShuttingDown, "the process is about to end"))
    }

    /// Seats a team's actor, and waits until the team has been formed.
    async fn form(&self, seed: TeamArgs) -> Result<(), Cause> {
        let gone = || Cause::new(ErrorCode::ShuttingDown, "the process is about to end");
        let (port, hosted) = oneshot::channel();
        self.supervisor()?.send_message(TeamSupervisorMsg::Form(Box::new(seed), port)).map_err(|_| gone())?;
        let mut forms = hosted.await.map_err(|_| gone())??;
        let formed = forms.wait_for(Option::is_some).await.map_err(|_| gone())?.clone();
        formed.unwrap_or_else(|| Err(gone())).map(drop)
    }

    /// The team that was formed for a run, once it has been.
    fn formed(&self, run: &RunId) -> Option<(HostedTeam, TeamHandles)> {
        let hosted = self.find(run)?;
        let formed = hosted.forms.borrow().clone()?.ok()?;
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
            let message = "the team's definition changed while the request was judged; ask again";
            return Err(Cause::new(ErrorCode::VersionConflict, message));
        }
        let context = shared(team, &start.context);
        let (until, request) = (grant.deadline(), grant.request_id().clone());
        let begun = run_of(team, start, context.clone(), &grant);
        if let Some(reply) = self.find_existing_run(&grant, &begun).await? {
            return Ok(reply);
        }
        let (port, reply) = oneshot::channel();
        let begins = TeamRunStart { grant, request, run: begun, port };
        let (team, members) = (team.id().clone(), members(team, &catalogue));
        self.form(TeamArgs { team, run: run.clone(), members, context, begins: Some(begins), since }).await?;
        match reply.await {
            Ok(reply) => Ok(reply),
            // The team has died; its run goes on.
            Err(_closed) => self.runs.wait_ended(&run, until).await,
        }
    }

    /// The answer to a request that was made before with the same key: its run's, without a team being
    /// formed again. Of two that come at once both may form one; there is still one run.
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

    fn unknown(run: &RunId) -> Cause {
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
        let seed = TeamArgs { team, run, members, context: Values::new(), begins: None, since: Instant::now() };
        self.form(seed).await
    }
}

#[async_trait]
impl TeamHost for TeamsHandle {
    async fn start(&self, permit: Permitted<StartTeam>) -> Reply {
        let id = permit.grant().request_id().clone();
        reply_to(&id, self.inner.try_start(permit).await)
    }

    async fn invoke(&self, run: &RunId, assignment: Box<Invocation>) -> Result<ExecutionResult, Box<Invocation>> {
        match self.inner.formed(run) {
            Some((hosted, formed)) if hosted.members.contains(assignment.agent.id()) => {
                Ok(formed.members.invoke(assignment).await)
            }
            Some(_) | None => Err(assignment),
        }
    }

    async fn read(&self, permit: Permitted<ContextRead>) -> Result<Outcome, Cause> {
        let run = permit.request().run.clone();
        let (_, formed) = self.inner.formed(&run).ok_or_else(|| Inner::unknown(&run))?;
        formed.context.read(permit).await
    }

    async fn write(&self, permit: Permitted<ContextWrite>) -> Result<Outcome, Cause> {
        let run = permit.request().run.clone();
        let (_, formed) = self.inner.formed(&run).ok_or_else(|| Inner::unknown(&run))?;
        formed.context.write(permit).await
    }
}

/// What the supervisor of teams is told.
pub(super) enum TeamSupervisorMsg {
    /// Form this team.
    Form(Box<TeamArgs>, oneshot::Sender<Result<FormationReceiver, Cause>>),
    /// Let a team come back to its run.
    Restart(RunId),
    /// Tell of yourself.
    Observe(RpcReplyPort<TeamSupervisorInfo>),
}

impl ractor::Message for TeamSupervisorMsg {}

/// What the supervisor of teams tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TeamSupervisorInfo {
    /// Teams that are hosted here.
    pub teams: Vec<TeamId>,
}

/// The supervisor of all teams of this pod.
pub struct TeamSupervisor {
    teams: TeamsHandle,
}

impl TeamSupervisor {
    /// Spawns the supervisor under `parent`.
    ///
    /// # Errors
    /// What ractor says, if the parent is stopping.
    pub async fn start_linked(teams: TeamsHandle, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, TeamSupervisorActor(Self { teams }), (), parent).await?;
        Ok(actor.get_cell())
    }
}

/// The actor behind [`TeamsActor`]; its messages stay in this module.
struct TeamSupervisorActor(TeamSupervisor);

/// What the supervisor of teams holds.
#[derive(Default)]
struct TeamsState {
    runs: HashMap<ActorId, RunId>,
    deaths: HashMap<RunId, RestartIntensity>,
    waits: LinkedTasks<RunId>,
}

impl Actor for TeamSupervisorActor {
    type Msg = TeamSupervisorMsg;
    type State = TeamsState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<TeamSupervisorMsg>, (): ()) -> Result<TeamsState, ActorProcessingErr> {
        let inner = &self.0.teams.inner;
        // The teams of a supervisor that died are dead too; their runs go on without them and fail.
        inner.hosted.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *inner.actor.lock().unwrap_or_else(PoisonError::into_inner) = Some(myself);
        Ok(TeamsState::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<TeamSupervisorMsg>,
        message: TeamSupervisorMsg,
        state: &mut TeamsState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TeamSupervisorMsg::Form(seed, port) => {
                // Who has gone away left a team that goes on until its run has ended.
                let _ = port.send(self.form(&myself, state, seed).await);
            }
            TeamSupervisorMsg::Restart(run) => self.restart_team(&myself, state, run).await,
            TeamSupervisorMsg::Observe(port) => drop(port.send(self.info())),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<TeamSupervisorMsg>,
        event: SupervisionEvent,
        state: &mut TeamsState,
    ) -> Result<(), ActorProcessingErr> {
        if let ChildEvent::Ended { child: who, exit: how, reason: why } = ChildEvent::from_event(event)
            && let Some(run) = state.runs.remove(&who)
        {
            let deaths = state.deaths.entry(run.clone()).or_default();
            match deaths.on_exit(&ChildKind::Team.rule(), how, Instant::now()) {
                RestartDecision::Stay => self.remove_team(state, &run),
                RestartDecision::RestartAfter(after) => {
                    tracing::warn!(run.id = %run, child.how = ?how, child.why = %why, "team died and comes back");
                    let me = myself;
                    let wait = tokio::time::sleep(after);
                    let again = run.clone();
                    state.waits.spawn(run, after.saturating_mul(2), wait, move |_| {
                        // If the supervisor is dead, so are all teams.
                        let _ = me.send_message(TeamSupervisorMsg::Restart(again));
                    });
                }
                RestartDecision::MaxRestarts(_) => {
                    self.remove_team(state, &run);
                    let cause = Cause::new(ErrorCode::AgentCrashed, "the run's team died too often");
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
        state: &mut TeamsState,
        seed: Box<TeamArgs>,
    ) -> Result<FormationReceiver, Cause> {
        let inner = &self.0.teams.inner;
        let wrong = |error| Cause::new(ErrorCode::Internal, format!("the members have no name: {error}"));
        let name = CategoryId::new(MEMBERS).map_err(wrong)?;
        let seat = CategoryHandle::new(name, inner.env.clone(), inner.manners);
        let (forming, forms) = watch::channel(None);
        let (team, run, members) = (seed.team.clone(), seed.run.clone(), seed.members.clone());
        let known = Arc::new(members.clone());
        let runs = inner.runs.clone();
        let actor = TeamActor { team: team.clone(), run: run.clone(), members, runs, seat, forming };
        let spawned = Actor::spawn_linked(None, actor, seed, myself.get_cell()).await;
        let (actor, _) = spawned
            .map_err(|error| Cause::new(ErrorCode::ShuttingDown, format!("the team could not be seated: {error}")))?;
        state.runs.insert(actor.get_id(), run.clone());
        let hosted = HostedTeam { actor, team, members: known, forms: forms.clone() };
        inner.hosted.lock().unwrap_or_else(PoisonError::into_inner).insert(run, hosted);
        Ok(forms)
    }

    /// Lets a team that died come back to its run.
    async fn restart_team(&self, myself: &ActorRef<TeamSupervisorMsg>, state: &mut TeamsState, run: RunId) {
        state.waits.acknowledge(&run);
        let inner = &self.0.teams.inner;
        let Some(hosted) = inner.find(&run) else { return };
        let members = hosted.members.as_ref().clone();
        let (team, context) = (hosted.team, Values::new());
        let seed = TeamArgs { team, run: run.clone(), members, context, begins: None, since: Instant::now() };
        match self.form(myself, state, Box::new(seed)).await {
            Ok(_) => inner.runs.env().observer.on_event(ActorEvent::ChildRestarted { kind: ChildKind::Team.as_str() }),
            Err(cause) => inner.runs.terminate(&run, cause),
        }
    }

    fn remove_team(&self, state: &mut TeamsState, run: &RunId) {
        state.deaths.remove(run);
        self.0.teams.inner.hosted.lock().unwrap_or_else(PoisonError::into_inner).remove(run);
    }

    fn info(&self) -> TeamSupervisorInfo {
        let hosted = self.0.teams.inner.hosted.lock().unwrap_or_else(PoisonError::into_inner);
        TeamSupervisorInfo { teams: hosted.values().map(|hosted| hosted.team.clone()).collect() }
    }
}
