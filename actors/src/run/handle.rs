//! The handle through which runs are started, told things and waited for.
//!
//! The store's I/O of a start happens in its caller's task, so that a thousand starts share group
//! commits; the supervisor's actor only spawns. What does not live here: what a run does.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use greenroom_protocol::event::RunState;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{ResumeRun, SignalRun, StartRun};
use greenroom_protocol::{Cause, Code, Deadline, Reply, RequestId, RunId, Status, Values};
use greenroom_registry::audit::Opened;
use greenroom_registry::journal::Seq;
use greenroom_registry::runs::{Created, Fence, NewRun, RunHead};
use greenroom_rego::{Grant, Permitted};
use ractor::ActorRef;
use tokio::sync::{oneshot, watch};

use super::actor::{First, Progress, RunMsg, RunSight, Seed, decided};
use super::effects::{Lists, Reach, failed};
use super::machine::{Event, State};
use super::pinned::Kept;
use super::start::once;
use super::supervisor::{Hosted, RunsMsg, RunsSight};
use super::{Company, Hands};
use crate::dispatcher::{Held, RunsHere};

/// How much longer than its deadline a run may take to say that its time is up.
const GRACE: Duration = Duration::from_secs(1);
/// How long an actor may take to tell of itself, in milliseconds.
const OBSERVE_MS_MAX: u64 = 1_000;

struct Inner {
    hands: Arc<Hands>,
    hosted: Arc<Hosted>,
    kept: Kept,
    actor: Mutex<Option<ActorRef<RunsMsg>>>,
    company: OnceLock<Weak<dyn Company>>,
}

/// A run that begins or goes on.
pub(super) struct Goes {
    pub(super) run: RunId,
    pub(super) fence: Fence,
    /// Its last entry.
    pub(super) seq: Seq,
    /// What its journal says so far.
    pub(super) state: State,
    /// What it does first.
    pub(super) first: First,
    pub(super) reach: Reach,
    /// What is given back when it leaves this pod.
    pub(super) held: Option<Held>,
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
        let inner = Inner {
            hands: Arc::new(hands),
            hosted: Arc::default(),
            kept: Kept::default(),
            actor: Mutex::default(),
            company: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Makes the teams known; the first ones stay.
    pub(crate) fn accompany(&self, company: Weak<dyn Company>) {
        if self.inner.company.set(company).is_err() {
            tracing::warn!("runs were given their teams twice");
        }
    }

    /// The teams of this pod, where there are any.
    pub(super) fn company(&self) -> Option<Arc<dyn Company>> {
        self.inner.company.get()?.upgrade()
    }

    pub(crate) fn hands(&self) -> &Arc<Hands> {
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
    ///
    /// That it exists is written behind the opening of its request, in the same commit where that can
    /// be; nothing is done before both are durable.
    pub async fn start(&self, permit: Permitted<StartRun>, opened: &mut Opened, held: Option<Held>) -> Reply {
        let (grant, start) = permit.redeem();
        let id = grant.request_id().clone();
        reply_to(&id, self.started(grant, start, opened, held).await)
    }

    async fn started(
        &self,
        grant: Grant,
        start: StartRun,
        opened: &mut Opened,
        held: Option<Held>,
    ) -> Result<Reply, Cause> {
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
        let begun = Arc::new(begun);
        let decision = decided(&pinned.plan, &State::default(), &Event::Begun(begun.clone()), now);
        let made = hands.stores.runs.begin(&new, key.as_ref(), decision.entries(), now).await;
        let run = match made.map_err(|error| error.cause())? {
            (Created::New(fence), Some(receipt)) => {
                if let Err(error) = opened.durable().await {
                    self.withdraw(&run, fence, receipt.through(), decision.next(), error.cause()).await;
                    return Err(error.cause());
                }
                let grant = grant.lasting(begun.deadline);
                let reach =
                    Reach { hands: hands.clone(), pinned: Arc::new(pinned), grant, begun, lists: Lists::default() };
                let (seq, state, first) = (Seq(0), State::default(), First::Begins(Box::new(decision), receipt));
                self.host(Goes { run: run.clone(), fence, seq, state, first, reach, held }).await?;
                run
            }
            (Created::New(_), None) => return Err(Cause::new(Code::Internal, "the run began with nothing")),
            (Created::Same(first), _) => first,
            (Created::Conflict, _) => {
                let message = "the idempotency key was used before with another request";
                return Err(Cause::new(Code::IdempotencyConflict, message));
            }
        };
        if detach { self.accepted(&run, waits_until).await } else { self.ended(&run, waits_until).await }
    }

    /// Seats a run's actor, and waits until it sits.
    pub(super) async fn host(&self, goes: Goes) -> Result<(), Cause> {
        let Goes { run, fence, seq, state, first, reach, held } = goes;
        let gone = || Cause::new(Code::ShuttingDown, "the process is about to end");
        let supervisor = self.supervisor().ok_or_else(gone)?;
        let parent = reach.begun.parent.as_ref();
        let budget = match reach.begun.retries {
            // A run that goes on has the retries that its journal leaves it.
            _ if state.begun().is_some() => self.hands().budgets.open(&run, parent, state.retries_left()),
            retries => self.hands().budgets.open(&run, parent, retries),
        };
        let (progress, watching) = watch::channel(Progress::default());
        let hosted = self.inner.hosted.clone();
        let seed = Box::new(Seed { run, fence, seq, state, first, reach, progress, budget, hosted, held });
        let (port, seated) = oneshot::channel();
        supervisor.send_message(RunsMsg::Host(seed, watching, port)).map_err(|_| gone())?;
        seated.await.map_err(|_| gone())?
    }

    /// Waits until a run is durable.
    pub(crate) async fn accepted(&self, run: &RunId, until: Deadline) -> Result<Reply, Cause> {
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

    /// What the supervisor tells of itself; `None` if there is none now.
    pub async fn observe(&self) -> Option<RunsSight> {
        let supervisor = self.supervisor()?;
        ractor::call_t!(supervisor, RunsMsg::Observe, OBSERVE_MS_MAX).ok()
    }

    /// What a run's actor tells of itself; `None` if it is not hosted here.
    pub async fn observe_run(&self, run: &RunId) -> Option<RunSight> {
        let seated = self.inner.hosted.find(run)?;
        ractor::call_t!(seated.actor, RunMsg::Observe, OBSERVE_MS_MAX).ok()
    }

    pub(super) fn supervisor(&self) -> Option<ActorRef<RunsMsg>> {
        self.inner.actor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A supervisor sits. The runs of the one before are dead with it, and recovery claims them when
    /// their leases have lapsed.
    pub(super) fn seat(&self, supervisor: ActorRef<RunsMsg>) {
        self.inner.hosted.clear();
        *self.inner.actor.lock().unwrap_or_else(PoisonError::into_inner) = Some(supervisor);
    }

    pub(super) fn seats(&self) -> &Hosted {
        &self.inner.hosted
    }

    pub(super) fn kept(&self) -> &Kept {
        &self.inner.kept
    }

    /// Ends a run that may not go on, for a reason that lies outside of it.
    pub fn lose(&self, run: &RunId, cause: Cause) {
        self.inner.hosted.lose(run, cause);
    }
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

/// A request's id as the id of its reply.
pub(crate) fn reply_to(id: &RequestId, answer: Result<Reply, Cause>) -> Reply {
    answer.unwrap_or_else(|cause| failed(id, cause))
}

#[async_trait]
impl RunsHere for Runs {
    async fn start(&self, permit: Permitted<StartRun>, opened: &mut Opened, held: Option<Held>) -> Reply {
        Self::start(self, permit, opened, held).await
    }

    async fn resume(&self, permit: Permitted<ResumeRun>) -> Reply {
        Self::resume(self, permit).await
    }

    async fn signal(&self, permit: Permitted<SignalRun>) -> Reply {
        Self::signal(self, permit).await
    }
}
