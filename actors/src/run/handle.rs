//! The handle through which runs are started, told things and waited for.
//!
//! The store's I/O of a start happens in its caller's task, so that a thousand starts share group
//! commits; the supervisor's actor only spawns. What does not live here: what a run does.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{ResumeRun, SignalRun, StartRun};
use greenroom_protocol::{Cause, Deadline, ErrorCode, Reply, RequestId, RunId, Status, Values};
use greenroom_registry::audit::PendingAuditEntry;
use greenroom_registry::journal::Seq;
use greenroom_registry::runs::{Created, Fence, NewRun, RunRecord};
use greenroom_rego::{Grant, Permitted};
use ractor::ActorRef;
use tokio::sync::{oneshot, watch};

use super::actor::{FirstAction, Progress, RunArgs, RunInfo, RunMsg, decided};
use super::effects::{EffectContext, ItemLists, failed};
use super::machine::{Event, State};
use super::pinned::StoredDefinitions;
use super::start::dedup_key;
use super::supervisor::{HostedRuns, RunSupervisorInfo, RunSupervisorMsg};
use super::{RunEnv, TeamRestorer};
use crate::dispatcher::{RunHost, RunTicket};

/// How much longer than its deadline a run may take to say that its time is up.
const KILL_GRACE: Duration = Duration::from_secs(1);
/// How long an actor may take to tell of itself, in milliseconds.
const OBSERVE_MS_MAX: u64 = 1_000;

struct Inner {
    env: Arc<RunEnv>,
    hosted: Arc<HostedRuns>,
    kept: StoredDefinitions,
    actor: Mutex<Option<ActorRef<RunSupervisorMsg>>>,
    team_restorer: OnceLock<Weak<dyn TeamRestorer>>,
}

/// A run that begins or goes on.
pub(super) struct RunActivation {
    pub(super) run: RunId,
    pub(super) fence: Fence,
    /// Its last entry.
    pub(super) seq: Seq,
    /// What its journal says so far.
    pub(super) state: State,
    /// What it does first.
    pub(super) first: FirstAction,
    pub(super) ctx: EffectContext,
    /// What is given back when it leaves this pod.
    pub(super) held: Option<RunTicket>,
}

/// The way to the runs of this pod. Cheap to clone.
#[derive(Clone)]
pub struct RunsHandle {
    inner: Arc<Inner>,
}

impl RunsHandle {
    /// Runs without a supervisor yet; [`RunsActor::spawn_under`] gives them one.
    #[must_use]
    pub fn new(env: RunEnv) -> Self {
        let inner = Inner {
            env: Arc::new(env),
            hosted: Arc::default(),
            kept: StoredDefinitions::default(),
            actor: Mutex::default(),
            team_restorer: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Makes the teams known; the first ones stay.
    pub(crate) fn set_team_restorer(&self, company: Weak<dyn TeamRestorer>) {
        if self.inner.team_restorer.set(company).is_err() {
            tracing::warn!("runs were given their teams twice");
        }
    }

    /// The teams of this pod, where there are any.
    pub(super) fn team_restorer(&self) -> Option<Arc<dyn TeamRestorer>> {
        self.inner.team_restorer.get()?.upgrade()
    }

    pub(crate) fn env(&self) -> &Arc<RunEnv> {
        &self.inner.env
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
    pub async fn start(
        &self,
        permit: Permitted<StartRun>,
        opened: &mut PendingAuditEntry,
        held: Option<RunTicket>,
    ) -> Reply {
        let (grant, start) = permit.redeem();
        let id = grant.request_id().clone();
        reply_to(&id, self.try_start(grant, start, opened, held).await)
    }

    async fn try_start(
        &self,
        grant: Grant,
        start: StartRun,
        opened: &mut PendingAuditEntry,
        held: Option<RunTicket>,
    ) -> Result<Reply, Cause> {
        let env = self.env();
        let now = env.clock.now();
        let run = grant.run().cloned().ok_or_else(|| Cause::new(ErrorCode::Internal, "the permit starts no run"))?;
        let detach = start.detach;
        let waits_until = grant.deadline();
        let (body, key) = dedup_key(&grant, &start);
        let (begun, pinned) = self.prepare(&run, &grant, start, now).await?;
        let new = NewRun {
            run: run.clone(),
            tenant: grant.principal().tenant.clone(),
            owner: begun.owner.clone(),
            workflow: begun.workflow.clone(),
            version: begun.version,
            team: begun.team.clone(),
            parent: begun.parent.clone(),
            request_hash: body,
            pod: env.pod.clone(),
            lease: env.lease,
        };
        let begun = Arc::new(begun);
        let decision = decided(&pinned.plan, &State::default(), &Event::Started(begun.clone()), now);
        let made = env.stores.runs.create_with_entries(&new, key.as_ref(), decision.entries(), now).await;
        let run = match made.map_err(|error| error.cause())? {
            (Created::New(fence), Some(receipt)) => {
                if let Err(error) = opened.wait_durable().await {
                    self.cancel_start(&run, fence, receipt.through(), decision.next(), error.cause()).await;
                    return Err(error.cause());
                }
                let grant = grant.with_run_deadline(begun.deadline);
                let ctx = EffectContext {
                    env: env.clone(),
                    pinned: Arc::new(pinned),
                    grant,
                    begun,
                    lists: ItemLists::default(),
                };
                let (seq, state, first) = (Seq(0), State::default(), FirstAction::Start(Box::new(decision), receipt));
                self.activate(RunActivation { run: run.clone(), fence, seq, state, first, ctx, held }).await?;
                run
            }
            (Created::New(_), None) => return Err(Cause::new(ErrorCode::Internal, "the run began with nothing")),
            (Created::Existing(first), _) => first,
            (Created::Conflict, _) => {
                let message = "the idempotency key was used before with another request";
                return Err(Cause::new(ErrorCode::IdempotencyConflict, message));
            }
        };
        if detach { self.wait_accepted(&run, waits_until).await } else { self.wait_ended(&run, waits_until).await }
    }

    /// Seats a run's actor, and waits until it sits.
    pub(super) async fn activate(&self, goes: RunActivation) -> Result<(), Cause> {
        let RunActivation { run, fence, seq, state, first, ctx, held } = goes;
        let gone = || Cause::new(ErrorCode::ShuttingDown, "the process is about to end");
        let supervisor = self.supervisor().ok_or_else(gone)?;
        let parent = ctx.begun.parent.as_ref();
        let budget = match ctx.begun.retry_budget {
            // A run that goes on has the retries that its journal leaves it.
            _ if state.started().is_some() => self.env().budgets.open(&run, parent, state.retries_remaining()),
            retries => self.env().budgets.open(&run, parent, retries),
        };
        let (progress, watching) = watch::channel(Progress::default());
        let hosted = self.inner.hosted.clone();
        let seed = Box::new(RunArgs { run, fence, seq, state, first, ctx, progress, budget, hosted, held });
        let (port, hosted) = oneshot::channel();
        supervisor.send_message(RunSupervisorMsg::Activate(seed, watching, port)).map_err(|_| gone())?;
        hosted.await.map_err(|_| gone())?
    }

    /// Waits until a run is durable.
    pub(crate) async fn wait_accepted(&self, run: &RunId, until: Deadline) -> Result<Reply, Cause> {
        if let Some(mut hosted) = self.inner.hosted.find(run) {
            let left = until.remaining(self.env().clock.now()).saturating_add(KILL_GRACE);
            let waited = hosted.progress.wait_for(|progress| progress.accepted || progress.reply.is_some());
            match tokio::time::timeout(left, waited).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Err(Cause::new(ErrorCode::StoreUnavailable, "the run could not be journalled")),
                Err(_elapsed) => return Err(late()),
            }
        }
        self.status_reply(run).await
    }

    /// Where a run stands, as a reply.
    pub(super) async fn status_reply(&self, run: &RunId) -> Result<Reply, Cause> {
        let head = self.head(run).await?;
        Ok(state_reply(run, head.status))
    }

    async fn head(&self, run: &RunId) -> Result<RunRecord, Cause> {
        let head = self.env().stores.runs.get(run).await.map_err(|error| error.cause())?;
        head.ok_or_else(|| Cause::new(ErrorCode::UnknownRun, format!("there is no run `{run}`")))
    }

    /// Waits for the end of a run, wherever it is hosted, and gives its reply.
    ///
    /// # Errors
    /// [`ErrorCode::TimedOut`] if it has not ended a moment after `until`; [`ErrorCode::UnknownRun`] if there is
    /// none; what the store says.
    pub async fn wait_ended(&self, run: &RunId, until: Deadline) -> Result<Reply, Cause> {
        let left = until.remaining(self.env().clock.now()).saturating_add(KILL_GRACE);
        tokio::time::timeout(left, self.await_reply(run)).await.map_err(|_| late())?
    }

    async fn await_reply(&self, run: &RunId) -> Result<Reply, Cause> {
        if let Some(mut hosted) = self.inner.hosted.find(run) {
            let ended = hosted.progress.wait_for(|progress| progress.reply.is_some()).await;
            if let Some(reply) = ended.ok().and_then(|progress| progress.reply.clone()) {
                return Ok(reply.as_ref().clone());
            }
        }
        // Its actor is not here, or has died: the journal says how it goes on.
        let RunEnv { stores, .. } = &**self.env();
        if let Some(reply) = stores.runs.reply(run).await.map_err(|error| error.cause())? {
            return Ok(reply);
        }
        let mut tail = stores.journal.tail(run, self.head(run).await?.seq);
        while let Some(next) = tail.next().await {
            if let Entry::RunEnded { reply } = next.map_err(|error| error.cause())?.entry {
                return Ok(*reply);
            }
        }
        let reply = stores.runs.reply(run).await.map_err(|error| error.cause())?;
        reply.ok_or_else(|| Cause::new(ErrorCode::Interrupted, "the process ended before the run did"))
    }

    /// Cancels a run, or answers a step that waits for a person.
    pub async fn signal(&self, permit: Permitted<SignalRun>) -> Reply {
        let id = permit.grant().request_id().clone();
        reply_to(&id, self.signalled(permit).await)
    }

    async fn signalled(&self, permit: Permitted<SignalRun>) -> Result<Reply, Cause> {
        let run = permit.request().run.clone();
        let until = permit.grant().deadline();
        if let Some(hosted) = self.inner.hosted.find(&run) {
            let (port, answer) = oneshot::channel();
            if hosted.actor.send_message(RunMsg::Signal(permit, port)).is_ok() {
                let left = until.remaining(self.env().clock.now());
                match tokio::time::timeout(left, answer).await {
                    Ok(Ok(answer)) => return answer.map(|state| state_reply(&run, state)),
                    // It ended before it read the signal; the store says how.
                    Ok(Err(_closed)) => {}
                    Err(_elapsed) => return Err(late()),
                }
            }
        }
        let head = self.head(&run).await?;
        let message = if head.status.is_terminal() {
            format!("the run has ended as {}", head.status.as_str())
        } else {
            format!("the run is not under way here; `greenroom runs resume {run}` takes it up")
        };
        Err(Cause::new(ErrorCode::RunNotActive, message))
    }

    /// What the supervisor tells of itself; `None` if there is none now.
    pub async fn observe(&self) -> Option<RunSupervisorInfo> {
        let supervisor = self.supervisor()?;
        ractor::call_t!(supervisor, RunSupervisorMsg::GetInfo, OBSERVE_MS_MAX).ok()
    }

    /// What a run's actor tells of itself; `None` if it is not hosted here.
    pub async fn run_info(&self, run: &RunId) -> Option<RunInfo> {
        let hosted = self.inner.hosted.find(run)?;
        ractor::call_t!(hosted.actor, RunMsg::GetInfo, OBSERVE_MS_MAX).ok()
    }

    pub(super) fn supervisor(&self) -> Option<ActorRef<RunSupervisorMsg>> {
        self.inner.actor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A supervisor sits. The runs of the one before are dead with it, and recovery claims them when
    /// their leases have lapsed.
    pub(super) fn set_supervisor(&self, supervisor: ActorRef<RunSupervisorMsg>) {
        self.inner.hosted.clear();
        *self.inner.actor.lock().unwrap_or_else(PoisonError::into_inner) = Some(supervisor);
    }

    pub(super) fn hosted_runs(&self) -> &HostedRuns {
        &self.inner.hosted
    }

    pub(super) fn stored_definitions(&self) -> &StoredDefinitions {
        &self.inner.kept
    }

    /// Ends a run that may not go on, for a reason that lies outside of it.
    pub fn terminate(&self, run: &RunId, cause: Cause) {
        self.inner.hosted.terminate(run, cause);
    }
}

fn late() -> Cause {
    Cause::new(ErrorCode::TimedOut, "the deadline passed before the run ended")
}

/// The reply to whoever does not wait for the end.
fn state_reply(run: &RunId, state: RunStatus) -> Reply {
    let outputs = [("run_id", run.as_str()), ("status", state.as_str())];
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
impl RunHost for RunsHandle {
    async fn start(
        &self,
        permit: Permitted<StartRun>,
        opened: &mut PendingAuditEntry,
        held: Option<RunTicket>,
    ) -> Reply {
        Self::start(self, permit, opened, held).await
    }

    async fn resume(&self, permit: Permitted<ResumeRun>) -> Reply {
        Self::resume(self, permit).await
    }

    async fn signal(&self, permit: Permitted<SignalRun>) -> Reply {
        Self::signal(self, permit).await
    }
}
