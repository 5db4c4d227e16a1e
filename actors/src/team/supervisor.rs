//! The supervisor of all teams of this pod, and the handle through which teams are formed and reached.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use greenroom_protocol::request::{ContextRead, ContextWrite, StartRun, StartTeam};
use greenroom_protocol::{AgentId, CategoryId, Cause, Code, Outcome, Reply, RunId, TeamId, Values};
use greenroom_registry::idempotency::Once;
use greenroom_rego::{Grant, Permitted};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::actor::{Begins, Formed, Seed, TeamActor, TeamMsg, TeamSight};
use super::setup::{members, run_of, shared};
use crate::agent::Done;
use crate::category::{CategoryHandle, Manners};
use crate::dispatcher::TeamsHere;
use crate::execution::Backstage;
use crate::execution::invocation::Assignment;
use crate::observer::Observed;
use crate::run::{Company, Runs, once_of_team, reply_to};
use crate::supervision::{ChildKind, Exit, Intensity, LinkedTasks, Next};

/// How long an actor may take to tell of itself, in milliseconds.
const OBSERVE_MS_MAX: u64 = 1_000;
/// Under which name the members of a team are supervised.
const MEMBERS: &str = "members";

type Forms = watch::Receiver<Option<Result<Formed, Cause>>>;

/// A team that is hosted here, as the others see it.
#[derive(Clone)]
struct Seated {
    actor: ActorRef<TeamMsg>,
    team: TeamId,
    members: Arc<BTreeSet<AgentId>>,
    forms: Forms,
}

struct Inner {
    runs: Runs,
    backstage: Arc<Backstage>,
    manners: Manners,
    hosted: Mutex<HashMap<RunId, Seated>>,
    actor: Mutex<Option<ActorRef<TeamsMsg>>>,
}

/// The way to the teams of this pod. Cheap to clone.
#[derive(Clone)]
pub struct Teams {
    inner: Arc<Inner>,
}

impl Teams {
    /// Teams without a supervisor yet; [`TeamsActor::spawn_under`] gives them one. A run of a team that
    /// is taken up again finds its team through this.
    #[must_use]
    pub fn new(runs: Runs, backstage: Arc<Backstage>, manners: Manners) -> Self {
        let inner = Arc::new(Inner { runs, backstage, manners, hosted: Mutex::default(), actor: Mutex::default() });
        let company: Arc<dyn Company> = inner.clone();
        inner.runs.accompany(Arc::downgrade(&company));
        Self { inner }
    }

    /// What the supervisor tells of itself; `None` if there is none now.
    pub async fn observe(&self) -> Option<TeamsSight> {
        let supervisor = self.inner.supervisor().ok()?;
        ractor::call_t!(supervisor, TeamsMsg::Observe, OBSERVE_MS_MAX).ok()
    }

    /// What a team's actor tells of itself; `None` if there is none for this run.
    pub async fn observe_team(&self, run: &RunId) -> Option<TeamSight> {
        let seated = self.inner.find(run)?;
        ractor::call_t!(seated.actor, TeamMsg::Observe, OBSERVE_MS_MAX).ok()
    }
}

#[cfg(test)]
impl Teams {
    pub(super) fn kill_team(&self, run: &RunId) {
        self.inner.find(run).unwrap().actor.kill();
    }

    pub(crate) fn context(&self, run: &RunId) -> crate::context::ContextHandle {
        self.inner.formed(run).unwrap().1.context
    }
}

impl Inner {
    fn find(&self, run: &RunId) -> Option<Seated> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner).get(run).cloned()
    }

    fn supervisor(&self) -> Result<ActorRef<TeamsMsg>, Cause> {
        let actor = self.actor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        actor.ok_or_else(|| Cause::new(Code::ShuttingDown, "the process is about to end"))
    }

    /// Seats a team's actor, and waits until the team has been formed.
    async fn form(&self, seed: Seed) -> Result<(), Cause> {
        let gone = || Cause::new(Code::ShuttingDown, "the process is about to end");
        let (port, seated) = oneshot::channel();
        self.supervisor()?.send_message(TeamsMsg::Form(Box::new(seed), port)).map_err(|_| gone())?;
        let mut forms = seated.await.map_err(|_| gone())??;
        let formed = forms.wait_for(Option::is_some).await.map_err(|_| gone())?.clone();
        formed.unwrap_or_else(|| Err(gone())).map(drop)
    }

    /// The team that was formed for a run, once it has been.
    fn formed(&self, run: &RunId) -> Option<(Seated, Formed)> {
        let seated = self.find(run)?;
        let formed = seated.forms.borrow().clone()?.ok()?;
        Some((seated, formed))
    }

    async fn started(&self, permit: Permitted<StartTeam>) -> Result<Reply, Cause> {
        let since = Instant::now();
        let (grant, start) = permit.redeem();
        let run = grant.run().cloned().ok_or_else(|| Cause::new(Code::Internal, "the permit forms no team"))?;
        let hands = self.runs.hands();
        let catalogue = hands.library.catalogue();
        let team = catalogue.expect_team(&start.team)?;
        if grant.version() != Some(&team.hash()) {
            let message = "the team's definition changed while the request was judged; ask again";
            return Err(Cause::new(Code::VersionConflict, message));
        }
        let context = shared(team, &start.context);
        let (until, request) = (grant.deadline(), grant.request_id().clone());
        let begun = run_of(team, start, context.clone(), &grant);
        if let Some(reply) = self.begun_before(&grant, &begun).await? {
            return Ok(reply);
        }
        let (port, reply) = oneshot::channel();
        let begins = Begins { grant, request, run: begun, port };
        let (team, members) = (team.id().clone(), members(team, &catalogue));
        self.form(Seed { team, run: run.clone(), members, context, begins: Some(begins), since }).await?;
        match reply.await {
            Ok(reply) => Ok(reply),
            // The team has died; its run goes on.
            Err(_closed) => self.runs.ended(&run, until).await,
        }
    }

    /// The answer to a request that was made before with the same key: its run's, without a team being
    /// formed again. Of two that come at once both may form one; there is still one run.
    async fn begun_before(&self, grant: &Grant, start: &StartRun) -> Result<Option<Reply>, Cause> {
        let Some((body, key)) = once_of_team(start) else { return Ok(None) };
        let known = self.runs.hands().stores.idempotency.lookup(&grant.principal().tenant, &key, &body).await;
        match known.map_err(|error| error.cause())? {
            Once::Began(run) if start.detach => self.runs.accepted(&run, grant.deadline()).await.map(Some),
            Once::Began(run) => self.runs.ended(&run, grant.deadline()).await.map(Some),
            Once::Conflict => {
                let message = "the idempotency key was used before with another request";
                Err(Cause::new(Code::IdempotencyConflict, message))
            }
            Once::New | Once::Running | Once::Answered(_) => Ok(None),
        }
    }

    fn unknown(run: &RunId) -> Cause {
        Cause::new(Code::UnknownRun, format!("no team runs here for `{run}`"))
    }
}

#[async_trait]
impl Company for Inner {
    async fn rejoin(&self, run: &RunId, team: &TeamId, members: &[AgentId]) -> Result<(), Cause> {
        if self.find(run).is_some() {
            return Ok(());
        }
        let (team, run, members) = (team.clone(), run.clone(), members.iter().cloned().collect());
        let seed = Seed { team, run, members, context: Values::new(), begins: None, since: Instant::now() };
        self.form(seed).await
    }
}

#[async_trait]
impl TeamsHere for Teams {
    async fn start(&self, permit: Permitted<StartTeam>) -> Reply {
        let id = permit.grant().request_id().clone();
        reply_to(&id, self.inner.started(permit).await)
    }

    async fn invoke(&self, run: &RunId, assignment: Box<Assignment>) -> Result<Done, Box<Assignment>> {
        match self.inner.formed(run) {
            Some((seated, formed)) if seated.members.contains(assignment.agent.id()) => {
                Ok(formed.members.invoke(assignment).await)
            }
            Some(_) | None => Err(assignment),
        }
    }

    async fn read(&self, permit: Permitted<ContextRead>) -> Result<Outcome, Cause> {
        let run = permit.what().run.clone();
        let (_, formed) = self.inner.formed(&run).ok_or_else(|| Inner::unknown(&run))?;
        formed.context.read(permit).await
    }

    async fn write(&self, permit: Permitted<ContextWrite>) -> Result<Outcome, Cause> {
        let run = permit.what().run.clone();
        let (_, formed) = self.inner.formed(&run).ok_or_else(|| Inner::unknown(&run))?;
        formed.context.write(permit).await
    }
}

/// What the supervisor of teams is told.
pub(super) enum TeamsMsg {
    /// Form this team.
    Form(Box<Seed>, oneshot::Sender<Result<Forms, Cause>>),
    /// Let a team come back to its run.
    Again(RunId),
    /// Tell of yourself.
    Observe(RpcReplyPort<TeamsSight>),
}

impl ractor::Message for TeamsMsg {}

/// What the supervisor of teams tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TeamsSight {
    /// Teams that are hosted here.
    pub teams: Vec<TeamId>,
}

/// The supervisor of all teams of this pod.
pub struct TeamsActor {
    teams: Teams,
}

impl TeamsActor {
    /// Spawns the supervisor under `parent`.
    ///
    /// # Errors
    /// What ractor says, if the parent is stopping.
    pub async fn spawn_under(teams: Teams, parent: ActorCell) -> Result<ActorCell, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, TeamsDesk(Self { teams }), (), parent).await?;
        Ok(actor.get_cell())
    }
}

/// The actor behind [`TeamsActor`]; its messages stay in this module.
struct TeamsDesk(TeamsActor);

/// What the supervisor of teams holds.
#[derive(Default)]
struct TeamsState {
    runs: HashMap<ActorId, RunId>,
    deaths: HashMap<RunId, Intensity>,
    waits: LinkedTasks<RunId>,
}

impl Actor for TeamsDesk {
    type Msg = TeamsMsg;
    type State = TeamsState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<TeamsMsg>, (): ()) -> Result<TeamsState, ActorProcessingErr> {
        let inner = &self.0.teams.inner;
        // The teams of a supervisor that died are dead too; their runs go on without them and fail.
        inner.hosted.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *inner.actor.lock().unwrap_or_else(PoisonError::into_inner) = Some(myself);
        Ok(TeamsState::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<TeamsMsg>,
        message: TeamsMsg,
        state: &mut TeamsState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TeamsMsg::Form(seed, port) => {
                // Who has gone away left a team that goes on until its run has ended.
                let _ = port.send(self.form(&myself, state, seed).await);
            }
            TeamsMsg::Again(run) => self.again(&myself, state, run).await,
            TeamsMsg::Observe(port) => drop(port.send(self.sight())),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<TeamsMsg>,
        event: SupervisionEvent,
        state: &mut TeamsState,
    ) -> Result<(), ActorProcessingErr> {
        if let Exit::Ended { who, how, why } = Exit::read(event)
            && let Some(run) = state.runs.remove(&who)
        {
            let deaths = state.deaths.entry(run.clone()).or_default();
            match deaths.on_exit(&ChildKind::Team.rule(), how, Instant::now()) {
                Next::Leave => self.gone(state, &run),
                Next::RestartAfter(after) => {
                    tracing::warn!(run.id = %run, child.how = ?how, child.why = %why, "team died and comes back");
                    let me = myself;
                    let wait = tokio::time::sleep(after);
                    let again = run.clone();
                    state.waits.link(run, after.saturating_mul(2), wait, move |_| {
                        // If the supervisor is dead, so are all teams.
                        let _ = me.send_message(TeamsMsg::Again(again));
                    });
                }
                Next::GiveUp(_) => {
                    self.gone(state, &run);
                    let cause = Cause::new(Code::AgentCrashed, "the run's team died too often");
                    self.0.teams.inner.runs.lose(&run, cause);
                }
            }
        }
        Ok(())
    }
}

impl TeamsDesk {
    async fn form(&self, myself: &ActorRef<TeamsMsg>, state: &mut TeamsState, seed: Box<Seed>) -> Result<Forms, Cause> {
        let inner = &self.0.teams.inner;
        let wrong = |error| Cause::new(Code::Internal, format!("the members have no name: {error}"));
        let name = CategoryId::new(MEMBERS).map_err(wrong)?;
        let seat = CategoryHandle::new(name, inner.backstage.clone(), inner.manners);
        let (forming, forms) = watch::channel(None);
        let (team, run, members) = (seed.team.clone(), seed.run.clone(), seed.members.clone());
        let known = Arc::new(members.clone());
        let runs = inner.runs.clone();
        let actor = TeamActor { team: team.clone(), run: run.clone(), members, runs, seat, forming };
        let spawned = Actor::spawn_linked(None, actor, seed, myself.get_cell()).await;
        let (actor, _) = spawned
            .map_err(|error| Cause::new(Code::ShuttingDown, format!("the team could not be seated: {error}")))?;
        state.runs.insert(actor.get_id(), run.clone());
        let seated = Seated { actor, team, members: known, forms: forms.clone() };
        inner.hosted.lock().unwrap_or_else(PoisonError::into_inner).insert(run, seated);
        Ok(forms)
    }

    /// Lets a team that died come back to its run.
    async fn again(&self, myself: &ActorRef<TeamsMsg>, state: &mut TeamsState, run: RunId) {
        state.waits.ended(&run);
        let inner = &self.0.teams.inner;
        let Some(seated) = inner.find(&run) else { return };
        let members = seated.members.as_ref().clone();
        let (team, context) = (seated.team, Values::new());
        let seed = Seed { team, run: run.clone(), members, context, begins: None, since: Instant::now() };
        match self.form(myself, state, Box::new(seed)).await {
            Ok(_) => inner.runs.hands().observer.saw(Observed::Restarted { kind: ChildKind::Team.as_str() }),
            Err(cause) => inner.runs.lose(&run, cause),
        }
    }

    fn gone(&self, state: &mut TeamsState, run: &RunId) {
        state.deaths.remove(run);
        self.0.teams.inner.hosted.lock().unwrap_or_else(PoisonError::into_inner).remove(run);
    }

    fn sight(&self) -> TeamsSight {
        let hosted = self.0.teams.inner.hosted.lock().unwrap_or_else(PoisonError::into_inner);
        TeamsSight { teams: hosted.values().map(|seated| seated.team.clone()).collect() }
    }
}
