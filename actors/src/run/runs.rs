//! The supervisor of all runs of this pod, and the handle through which runs are started, told things
//! and waited for.
//!
//! The store's I/O of a start happens in its caller's task, so that a thousand starts share group
//! commits; the supervisor's actor only spawns. What does not live here: what a run does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use greenroom_protocol::event::RunState;
use greenroom_protocol::journal::{Begun, Entry};
use greenroom_protocol::request::{SignalRun, StartRun};
use greenroom_protocol::{Cause, Code, ContentHash, Deadline, Reply, RequestId, RunId, Status, Timestamp, Values};
use greenroom_registry::journal::Seq;
use greenroom_registry::runs::{Created, NewRun, OnceKey, RunHead};
use greenroom_rego::{Grant, Permitted, Speaker};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::actor::{Progress, RunActor, RunMsg, Seed};
use super::effects::{Lists, Reach, failed};
use super::machine::{Event, RUN_RETRIES_MAX, State};
use super::pinned::{Kept, Pinned};
use super::values::keep;
use super::{Hands, RUN_TIME_MAX};
use crate::supervision::{Exit, How};

/// How much longer than its deadline a run may take to say that its time is up.
const GRACE: Duration = Duration::from_secs(1);

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

    fn seat(&self, run: RunId, seated: Seated) {
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

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

struct Inner {
    hands: Arc<Hands>,
    hosted: Arc<Hosted>,
    kept: Kept,
    actor: Mutex<Option<ActorRef<RunsMsg>>>,
}

/// The way to the runs of this pod. Cheap to clone.
#[derive(Clone)]
pub struct Runs {
    inner: Arc<Inner>,
}

impl Runs {
    /// Runs without a supervisor yet; [`RunsActor::spawn_under`] gives them one.
    #[must_use]
    pub fn new(hands: Hands) -> Self {
        let inner =
            Inner { hands: Arc::new(hands), hosted: Arc::default(), kept: Kept::default(), actor: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn hands(&self) -> &Arc<Hands> {
        &self.inner.hands
    }

    pub(super) fn is_hosted(&self, run: &RunId) -> bool {
        self.inner.hosted.find(run).is_some()
    }

    /// How many runs are hosted here.
    #[must_use]
    pub fn hosted(&self) -> usize {
        self.inner.hosted.len()
    }

    /// Starts a run and waits for its end; with `detach`, until it is durable. The same request twice
    /// is one run: whoever asks again waits for, or is given, the same reply.
    pub async fn start(&self, permit: Permitted<StartRun>) -> Reply {
        let (grant, start) = permit.redeem();
        let id = grant.request_id().clone();
        reply_to(&id, self.started(grant, start).await)
    }

    async fn started(&self, grant: Grant, start: StartRun) -> Result<Reply, Cause> {
        let hands = self.hands();
        let now = hands.clock.now();
        let run = grant.run().cloned().ok_or_else(|| Cause::new(Code::Internal, "the permit starts no run"))?;
        let detach = start.detach;
        let waits_until = grant.deadline();
        let (body, key) = once(&grant, &start);
        let (begun, pinned) = self.prepare(&run, &grant, start, now).await?;
        let new = NewRun {
            run: run.clone(),
            tenant: grant.principal().tenant.clone(),
            owner: begun.owner.clone(),
            workflow: begun.workflow.clone(),
            version: begun.version,
            team: begun.team.clone(),
            parent: begun.parent.clone(),
            body,
            pod: hands.pod.clone(),
            lease: hands.lease,
        };
        let created = hands.stores.runs.create(&new, key.as_ref(), now).await.map_err(|error| error.cause())?;
        let run = match created {
            Created::New(fence) => {
                let begun = Arc::new(begun);
                let grant = grant.lasting(begun.deadline);
                let first = Event::Begun(begun.clone());
                let reach = Reach { hands: hands.clone(), pinned: Arc::new(pinned), grant, begun, lists: Lists::default() };
                self.host(run.clone(), fence, Seq(0), State::default(), first, reach).await?;
                run
            }
            Created::Same(first) => first,
            Created::Conflict => {
                let message = "the idempotency key was used before with another request";
                return Err(Cause::new(Code::IdempotencyConflict, message));
            }
        };
        if detach { self.accepted(&run, waits_until).await } else { self.ended(&run, waits_until).await }
    }

    /// What a run begins with: its definitions pinned, its inputs checked and put where they belong.
    async fn prepare(
        &self,
        run: &RunId,
        grant: &Grant,
        start: StartRun,
        now: Timestamp,
    ) -> Result<(Begun, Pinned), Cause> {
        let Hands { library, stores, .. } = &**self.hands();
        let workflow = library.workflow(&start.workflow, grant.version()).await?;
        let pinned = Pinned::newest(&workflow, &**library)?;
        let inputs = workflow.validate_inputs(start.inputs)?;
        self.inner.kept.keep(&pinned, &workflow, &*stores.definitions).await?;
        let (inputs, _) = keep(inputs, "inputs", &*stores.artifacts).await?;
        let (context, _) = keep(start.context, "context", &*stores.artifacts).await?;
        let own = Deadline::after(now, workflow.plan().timeout.unwrap_or(RUN_TIME_MAX));
        let begun = Begun {
            run: run.clone(),
            workflow: workflow.id().clone(),
            version: workflow.hash(),
            agents: pinned.versions(),
            team: grant.team().cloned(),
            parent: parent(grant),
            owner: grant.principal().user.clone(),
            inputs,
            context,
            options: start.options,
            deadline: if start.detach { own } else { own.nearer(grant.deadline()) },
            steps: u32::try_from(workflow.plan().steps.len()).unwrap_or(u32::MAX),
            retries: RUN_RETRIES_MAX,
            members: self.members(grant),
            checks: grant.checks().to_vec(),
            trace: Some(grant.trace().clone()),
        };
        Ok((begun, pinned))
    }

    /// The members of the team that the run is for, by their whole ids.
    fn members(&self, grant: &Grant) -> Vec<greenroom_protocol::AgentId> {
        let catalogue = self.hands().library.catalogue();
        let Some(team) = grant.team().and_then(|team| catalogue.team(team)) else { return Vec::new() };
        let found = team.spec().agents.iter().filter_map(|written| catalogue.agent(written));
        found.map(|agent| agent.id().clone()).collect()
    }

    /// Seats a run's actor, and waits until it sits.
    pub(super) async fn host(
        &self,
        run: RunId,
        fence: greenroom_registry::runs::Fence,
        seq: Seq,
        state: State,
        first: Event,
        reach: Reach,
    ) -> Result<(), Cause> {
        let gone = || Cause::new(Code::ShuttingDown, "the process is about to end");
        let supervisor = self.inner.actor.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(gone)?;
        let budget = match reach.begun.retries {
            // A run that goes on has the retries that its journal leaves it.
            _ if state.begun().is_some() => self.hands().budgets.open(&run, state.retries_left()),
            retries => self.hands().budgets.open(&run, retries),
        };
        let (progress, watching) = watch::channel(Progress::default());
        let hosted = self.inner.hosted.clone();
        let seed = Box::new(Seed { run, fence, seq, state, first, reach, progress, budget, hosted });
        let (port, seated) = oneshot::channel();
        supervisor.send_message(RunsMsg::Host(seed, watching, port)).map_err(|_| gone())?;
        seated.await.map_err(|_| gone())?
    }

    /// Waits until a run is durable.
    async fn accepted(&self, run: &RunId, until: Deadline) -> Result<Reply, Cause> {
        if let Some(mut seated) = self.inner.hosted.find(run) {
            let left = until.left(self.hands().clock.now()).saturating_add(GRACE);
            let waited = seated.progress.wait_for(|progress| progress.accepted || progress.reply.is_some());
            match tokio::time::timeout(left, waited).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Err(Cause::new(Code::StoreUnavailable, "the run could not be journalled")),
                Err(_elapsed) => return Err(late()),
            }
        }
        self.standing(run).await
    }

    /// Where a run stands, as a reply.
    pub(super) async fn standing(&self, run: &RunId) -> Result<Reply, Cause> {
        let head = self.head(run).await?;
        Ok(state_reply(run, head.state))
    }

    async fn head(&self, run: &RunId) -> Result<RunHead, Cause> {
        let head = self.hands().stores.runs.get(run).await.map_err(|error| error.cause())?;
        head.ok_or_else(|| Cause::new(Code::UnknownRun, format!("there is no run `{run}`")))
    }

    /// Waits for the end of a run, wherever it is hosted, and gives its reply.
    ///
    /// # Errors
    /// [`Code::TimedOut`] if it has not ended a moment after `until`; [`Code::UnknownRun`] if there is
    /// none; what the store says.
    pub async fn ended(&self, run: &RunId, until: Deadline) -> Result<Reply, Cause> {
        let left = until.left(self.hands().clock.now()).saturating_add(GRACE);
        tokio::time::timeout(left, self.end_of(run)).await.map_err(|_| late())?
    }

    async fn end_of(&self, run: &RunId) -> Result<Reply, Cause> {
        if let Some(mut seated) = self.inner.hosted.find(run) {
            let ended = seated.progress.wait_for(|progress| progress.reply.is_some()).await;
            if let Some(reply) = ended.ok().and_then(|progress| progress.reply.clone()) {
                return Ok(reply.as_ref().clone());
            }
        }
        // Its actor is not here, or has died: the journal says how it goes on.
        let Hands { stores, .. } = &**self.hands();
        if let Some(reply) = stores.runs.reply(run).await.map_err(|error| error.cause())? {
            return Ok(reply);
        }
        let mut tail = stores.journal.tail(run, self.head(run).await?.seq);
        while let Some(next) = tail.next().await {
            if let Entry::Ended { reply } = next.map_err(|error| error.cause())?.entry {
                return Ok(*reply);
            }
        }
        let reply = stores.runs.reply(run).await.map_err(|error| error.cause())?;
        reply.ok_or_else(|| Cause::new(Code::Interrupted, "the process ended before the run did"))
    }

    /// Cancels a run, or answers a step that waits for a person.
    pub async fn signal(&self, permit: Permitted<SignalRun>) -> Reply {
        let id = permit.grant().request_id().clone();
        reply_to(&id, self.signalled(permit).await)
    }

    async fn signalled(&self, permit: Permitted<SignalRun>) -> Result<Reply, Cause> {
        let run = permit.what().run.clone();
        let until = permit.grant().deadline();
        if let Some(seated) = self.inner.hosted.find(&run) {
            let (port, answer) = oneshot::channel();
            if seated.actor.send_message(RunMsg::Signal(permit, port)).is_ok() {
                let left = until.left(self.hands().clock.now());
                match tokio::time::timeout(left, answer).await {
                    Ok(Ok(answer)) => return answer.map(|state| state_reply(&run, state)),
                    // It ended before it read the signal; the store says how.
                    Ok(Err(_closed)) => {}
                    Err(_elapsed) => return Err(late()),
                }
            }
        }
        let head = self.head(&run).await?;
        let message = if head.state.is_ended() {
            format!("the run has ended as {}", head.state.as_str())
        } else {
            format!("the run is not under way here; `greenroom runs resume {run}` takes it up")
        };
        Err(Cause::new(Code::RunNotActive, message))
    }

    /// Ends a run that may not go on, for a reason that lies outside of it.
    pub fn lose(&self, run: &RunId, cause: Cause) {
        self.inner.hosted.lose(run, cause);
    }
}

/// By what a repeated request is known: the caller's key and body; else, for a call of a run or a team,
/// the call itself, whose inputs may be bound anew after a crash.
fn once(grant: &Grant, start: &StartRun) -> (ContentHash, Option<OnceKey>) {
    if let Some(idempotency) = grant.idempotency() {
        return (idempotency.body, Some(OnceKey::Caller(idempotency.key.clone())));
    }
    let whole = || ContentHash::of(serde_json::to_string(start).unwrap_or_default().as_bytes());
    match (grant.speaker(), &start.key) {
        (Speaker::Team { .. }, Some(key)) => (whole(), Some(OnceKey::Call(key.clone()))),
        (Speaker::Workflow { .. } | Speaker::Agent { .. } | Speaker::Team { .. }, _) => {
            (ContentHash::of(grant.request_id().as_str().as_bytes()), None)
        }
        (Speaker::User { .. } | Speaker::Nobody, _) => (whole(), None),
    }
}

/// The run that calls this one as a step.
fn parent(grant: &Grant) -> Option<RunId> {
    grant.chain().iter().rev().find_map(|speaker| match speaker {
        Speaker::Workflow { run, .. } => Some(run.clone()),
        Speaker::User { .. } | Speaker::Agent { .. } | Speaker::Team { .. } | Speaker::Nobody => None,
    })
}

fn late() -> Cause {
    Cause::new(Code::TimedOut, "the deadline passed before the run ended")
}

/// The reply to whoever does not wait for the end.
fn state_reply(run: &RunId, state: RunState) -> Reply {
    let outputs = [("run_id", run.as_str()), ("state", state.as_str())];
    Reply {
        id: run.to_string(),
        status: Status::Success,
        outputs: outputs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect::<Values>(),
        error: None,
        metadata: greenroom_protocol::Metadata::default(),
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
        let inner = &self.0.runs.inner;
        // The runs of a supervisor that died are dead too; recovery claims them when their leases end.
        inner.hosted.clear();
        *inner.actor.lock().unwrap_or_else(PoisonError::into_inner) = Some(myself);
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
            self.0.runs.inner.hosted.forget(&run, who);
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
                self.0.runs.inner.hosted.seat(run, Seated { actor, progress });
                Ok(())
            }
            Err(error) => Err(Cause::new(Code::ShuttingDown, format!("the run could not be seated: {error}"))),
        };
        // Whoever has gone away left a run that goes on.
        let _ = port.send(answer);
    }
}

/// A request's id as the id of its reply.
pub(super) fn reply_to(id: &RequestId, answer: Result<Reply, Cause>) -> Reply {
    answer.unwrap_or_else(|cause| failed(id, cause))
}
