//! The handle that starts, signals and awaits runs.
//!
//! The store I/O of a start happens in the caller's task, so that a thousand starts share group commits; the run
//! supervisor only starts actors, and continues the creations whose callers have gone. The work of a run is in `actor`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::{Cause, Deadline, ErrorCode, Reply, RequestId, RunId, Status, Values, WrittenVersion};
use greenroom_registry::cluster::DueWork;
use greenroom_registry::runs::{ClaimedTree, Fence, RunRecord};
use greenroom_rego::{Caller, Grant};
use ractor::ActorRef;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::effects::failed_reply;
use super::hosted::{HostedRun, HostedRuns};
use super::message::{PendingResume, RunArgs, RunInfo, RunMsg, RunSupervisorInfo, RunSupervisorMsg, UnneededRun};
use super::owned_trees::OwnedTrees;
use super::parent_run::parent_run;
use super::pinned::StoredDefinitions;
use super::tree::RunTree;
use super::{RunEnv, TeamRestorer};
use crate::supervision::ChildKind;

/// Grace after its deadline within which a run reports that it timed out.
const KILL_GRACE: Duration = Duration::from_secs(1);
/// Longest wait until recovery has resumed an interrupted run: its lease expires first.
const RESUME_WAIT_MAX: Duration = Duration::from_secs(15);
/// Longest wait for the actor of an inner run whose tree is active.
const ACTIVATION_WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for introspection of an actor, in milliseconds.
const INFO_WAIT_MS_MAX: u64 = 1_000;

struct Inner {
    env: Arc<RunEnv>,
    hosted: Arc<HostedRuns>,
    owned_trees: OwnedTrees,
    stored_definitions: StoredDefinitions,
    supervisor: Mutex<Option<ActorRef<RunSupervisorMsg>>>,
    team_restorer: OnceLock<Weak<dyn TeamRestorer>>,
    /// Runs of claimed trees, until the request that resumes each is permitted.
    pending: Mutex<HashMap<RunId, PendingResume>>,
    /// Roots of trees that failed, and when recovery may resume them.
    delays: Mutex<HashMap<RunId, Instant>>,
}

/// The handle of the runs of this pod. Cheap to clone.
#[derive(Clone)]
pub struct RunsHandle {
    inner: Arc<Inner>,
}

impl RunsHandle {
    /// Creates the handle; [`RunsHandle::start_supervisor`] starts its supervisor.
    #[must_use]
    pub fn new(env: RunEnv) -> Self {
        let inner = Inner {
            env: Arc::new(env),
            hosted: Arc::default(),
            owned_trees: OwnedTrees::default(),
            stored_definitions: StoredDefinitions::default(),
            supervisor: Mutex::default(),
            team_restorer: OnceLock::new(),
            pending: Mutex::default(),
            delays: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Sets the restorer of teams; a second call has no effect.
    pub(crate) fn set_team_restorer(&self, restorer: Weak<dyn TeamRestorer>) {
        if self.inner.team_restorer.set(restorer).is_err() {
            tracing::warn!("the team restorer is already set");
        }
    }

    /// The restorer of teams, if one is set.
    pub(super) fn team_restorer(&self) -> Option<Arc<dyn TeamRestorer>> {
        self.inner.team_restorer.get()?.upgrade()
    }

    pub(crate) fn env(&self) -> &Arc<RunEnv> {
        &self.inner.env
    }

    /// Notifies of what there is to do for the runs of a store that pods share.
    #[must_use]
    pub fn watch_due_work(&self) -> watch::Receiver<DueWork> {
        self.env().stores.cluster.watch()
    }

    pub(super) fn is_hosted(&self, run: &RunId) -> bool {
        self.inner.hosted.find(run).is_some()
    }

    /// Number of hosted runs.
    #[must_use]
    pub fn hosted(&self) -> usize {
        self.inner.hosted.len()
    }

    /// Activates a run and waits until its actor has started.
    pub(super) async fn activate(&self, args: RunArgs) -> Result<(), Cause> {
        let supervisor = self.supervisor().ok_or_else(shutting_down_error)?;
        let (port, result) = oneshot::channel();
        let message = RunSupervisorMsg::Activate(Box::new(args), port);
        supervisor.send_message(message).map_err(|_| shutting_down_error())?;
        result.await.map_err(|_| shutting_down_error())?
    }

    /// Waits until the start of a run is durable.
    pub(crate) async fn wait_accepted(&self, run: &RunId, deadline: Deadline) -> Result<Reply, Cause> {
        if let Some(mut hosted) = self.inner.hosted.find(run) {
            let timeout = deadline.remaining(self.env().clock.now()).saturating_add(KILL_GRACE);
            let waited = hosted.progress.wait_for(|progress| progress.accepted || progress.reply.is_some());
            match tokio::time::timeout(timeout, waited).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => {
                    return Err(Cause::new(
                        ErrorCode::StoreUnavailable,
                        "the start of the run could not be written to the journal",
                    ));
                }
                Err(_elapsed) => return Err(deadline_error()),
            }
        }
        self.status_reply(run).await
    }

    /// The status of a run, as a reply.
    pub(super) async fn status_reply(&self, run: &RunId) -> Result<Reply, Cause> {
        let record = self.record(run).await?;
        Ok(status_to_reply(run, record.status))
    }

    pub(super) async fn record(&self, run: &RunId) -> Result<RunRecord, Cause> {
        let record = self.env().stores.runs.get(run).await.map_err(|error| error.cause())?;
        record.ok_or_else(|| Cause::new(ErrorCode::UnknownRun, format!("there is no run `{run}`")))
    }

    /// Waits for the end of a run on any pod and returns its reply.
    ///
    /// # Errors
    /// [`ErrorCode::TimedOut`] if it has not ended shortly after the deadline; [`ErrorCode::UnknownRun`] if it does
    /// not exist; an error of the store.
    pub async fn wait_ended(&self, run: &RunId, deadline: Deadline) -> Result<Reply, Cause> {
        let timeout = deadline.remaining(self.env().clock.now()).saturating_add(KILL_GRACE);
        tokio::time::timeout(timeout, self.wait_reply(run)).await.map_err(|_| deadline_error())?
    }

    /// Waits for what the caller of a run's start receives: with `detach` the acceptance of the run, else its end. A
    /// called run has a deadline of its own, which moves while it waits for approvals, and its caller ends it.
    ///
    /// # Errors
    /// As [`RunsHandle::wait_accepted`] and [`RunsHandle::wait_ended`].
    pub(crate) async fn wait_as_caller(&self, run: &RunId, detach: bool, grant: &Grant) -> Result<Reply, Cause> {
        if detach {
            self.wait_accepted(run, grant.deadline()).await
        } else if parent_run(grant).is_some() {
            self.wait_reply(run).await
        } else {
            self.wait_ended(run, grant.deadline()).await
        }
    }

    /// The reply to a repeated request that finds the run of the first one. The run may be interrupted, and it is not
    /// started a second time, because it can be resumed. If pods share the store, any of them does that.
    ///
    /// # Errors
    /// As [`RunsHandle::wait_ended`]; [`ErrorCode::Interrupted`] if recovery does not resume the run soon.
    pub(crate) async fn wait_existing(&self, run: &RunId, detach: bool, grant: &Grant) -> Result<Reply, Cause> {
        let caller_waits = || self.wait_as_caller(run, detach, grant);
        // A caller that is no user was resumed, and its call has resumed the run; other pods resume what they claim.
        let is_resumed = !matches!(grant.caller(), Caller::User { .. }) || self.env().stores.cluster.is_shared();
        if detach || is_resumed {
            return caller_waits().await;
        }
        if let Ok(ended) = tokio::time::timeout(RESUME_WAIT_MAX, caller_waits()).await {
            return ended;
        }
        if self.is_hosted(run) {
            return caller_waits().await;
        }
        let message = format!(
            "the run `{run}`, which the first request with this idempotency key started, was interrupted; resume it \
             with `greenroom runs resume {run}`, and repeat the request for its reply"
        );
        Err(Cause::new(ErrorCode::Interrupted, message).with_details(serde_json::json!({ "run": run })))
    }

    /// Sends a request to the actor of a run and awaits its reply; `None` if it is not hosted here, or has stopped.
    pub(super) async fn request<T>(
        &self,
        run: &RunId,
        deadline: Deadline,
        message: impl FnOnce(oneshot::Sender<T>) -> RunMsg + Send,
    ) -> Result<Option<T>, Cause> {
        match self.inner.hosted.find(run) {
            Some(hosted) => self.request_from(&hosted, deadline, message).await,
            None => Ok(None),
        }
    }

    /// As [`RunsHandle::request`], to a run that was found before.
    pub(super) async fn request_from<T>(
        &self,
        hosted: &HostedRun,
        deadline: Deadline,
        message: impl FnOnce(oneshot::Sender<T>) -> RunMsg + Send,
    ) -> Result<Option<T>, Cause> {
        let (port, reply) = oneshot::channel();
        if hosted.actor.send_message(message(port)).is_err() {
            return Ok(None);
        }
        let timeout = deadline.remaining(self.env().clock.now());
        tokio::time::timeout(timeout, reply).await.map(Result::ok).map_err(|_elapsed| deadline_error())
    }

    /// A hosted run. An inner run whose tree is being resumed is hosted in a moment.
    pub(super) async fn find_activating(&self, run: &RunId, deadline: Deadline) -> Result<Option<HostedRun>, Cause> {
        if let Some(hosted) = self.inner.hosted.find(run) {
            return Ok(Some(hosted));
        }
        let record = self.record(run).await?;
        if record.status.is_terminal() || !self.inner.hosted.has_tree(&record.root) {
            return Ok(None);
        }
        let timeout = deadline.remaining(self.env().clock.now()).min(ACTIVATION_WAIT_MAX);
        Ok(tokio::time::timeout(timeout, self.inner.hosted.wait_hosted(run)).await.ok())
    }

    /// Introspection of the supervisor; `None` if it does not run.
    pub async fn info(&self) -> Option<RunSupervisorInfo> {
        let supervisor = self.supervisor()?;
        ractor::call_t!(supervisor, RunSupervisorMsg::GetInfo, INFO_WAIT_MS_MAX).ok()
    }

    /// Introspection of a run's actor; `None` if this pod does not host it.
    pub async fn run_info(&self, run: &RunId) -> Option<RunInfo> {
        let hosted = self.inner.hosted.find(run)?;
        ractor::call_t!(hosted.actor, RunMsg::GetInfo, INFO_WAIT_MS_MAX).ok()
    }

    pub(super) fn supervisor(&self) -> Option<ActorRef<RunSupervisorMsg>> {
        self.inner.supervisor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Registers a started supervisor. The actors of its predecessor stopped with it; recovery claims their trees when
    /// the leases have expired.
    pub(super) fn set_supervisor(&self, supervisor: ActorRef<RunSupervisorMsg>) {
        self.inner.hosted.clear();
        *self.inner.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(supervisor);
    }

    pub(super) fn hosted_runs(&self) -> &Arc<HostedRuns> {
        &self.inner.hosted
    }

    pub(super) fn owned_trees(&self) -> &OwnedTrees {
        &self.inner.owned_trees
    }

    pub(super) fn stored_definitions(&self) -> &StoredDefinitions {
        &self.inner.stored_definitions
    }

    /// Ends a run for a cause from outside.
    pub fn terminate(&self, run: &RunId, cause: Cause) {
        self.inner.hosted.terminate(run, cause);
    }

    /// Ends a run that its caller does not need any more, whether or not it has an actor.
    pub(super) fn end_unneeded(&self, unneeded: UnneededRun) {
        // Without a supervisor the pod is stopping, and the next one ends the run.
        self.notify_supervisor(RunSupervisorMsg::End(unneeded));
    }

    /// The tree of a run that is being created on this pod.
    pub(super) fn tree_to_create(&self, root: RunId) -> Arc<RunTree> {
        Arc::new(RunTree::to_create(root))
    }

    /// Owns the tree of a run that was created.
    pub(super) fn own_created_tree(&self, tree: &Arc<RunTree>) {
        tree.own(self.lease_releaser());
        self.use_tree(tree);
    }

    /// A tree that this pod has claimed.
    pub(super) fn own_claimed_tree(&self, root: RunId, claim: ClaimedTree) -> Arc<RunTree> {
        let tree = Arc::new(RunTree::claimed(root, claim));
        tree.own(self.lease_releaser());
        self.use_tree(&tree);
        tree
    }

    /// Renews the lease of a tree from now on.
    fn use_tree(&self, tree: &Arc<RunTree>) {
        self.inner.owned_trees.insert(tree.root(), tree.fence());
        // Without a supervisor, no actor of the tree can start either.
        self.notify_supervisor(RunSupervisorMsg::RenewLease(Arc::downgrade(tree)));
    }

    fn lease_releaser(&self) -> impl Fn(&RunId, Fence, bool) + Send + Sync + 'static {
        let inner = Arc::downgrade(&self.inner);
        move |root, fence, is_released| {
            let Some(inner) = inner.upgrade() else { return };
            inner.owned_trees.remove(root, fence);
            if !is_released {
                // Without a supervisor, the lease expires.
                Self { inner }.notify_supervisor(RunSupervisorMsg::ReleaseLease(root.clone(), fence));
            }
        }
    }

    /// Sends a message to the supervisor, if there is one.
    pub(super) fn notify_supervisor(&self, message: RunSupervisorMsg) {
        if let Some(supervisor) = self.supervisor() {
            // A supervisor that is stopping does nothing any more.
            let _ = supervisor.send_message(message);
        }
    }

    /// The runs of claimed trees whose resumption was requested.
    pub(super) fn pending_resumes(&self) -> MutexGuard<'_, HashMap<RunId, PendingResume>> {
        self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delays the next attempt to resume a tree that has failed, by the restart policy of runs. Returns the delay, which
    /// holds for the other pods too.
    pub(super) fn delay_recovery(&self, tree: &RunTree) -> Duration {
        let delay = ChildKind::Run.restart_policy().backoff.delay_before(tree.failures().saturating_add(1));
        self.delays().insert(tree.root().clone(), Instant::now() + delay);
        delay
    }

    /// True if recovery has to wait before it resumes this tree.
    pub(super) fn is_delayed(&self, root: &RunId) -> bool {
        let mut delays = self.delays();
        let now = Instant::now();
        delays.retain(|_, until| *until > now);
        delays.contains_key(root)
    }

    fn delays(&self) -> MutexGuard<'_, HashMap<RunId, Instant>> {
        self.inner.delays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shutting_down_error() -> Cause {
    Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down and accepts no new requests")
}

fn deadline_error() -> Cause {
    Cause::new(ErrorCode::TimedOut, "the deadline passed before the run ended")
}

/// The reply to a caller that does not wait for the end.
pub(super) fn status_to_reply(run: &RunId, state: RunStatus) -> Reply {
    let outputs = [("run_id", run.as_str()), ("status", state.as_str())];
    Reply {
        id: run.to_string(),
        status: Status::Success,
        outputs: outputs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect::<Values>(),
        error: None,
        metadata: greenroom_protocol::Metadata::default(),
        protocol_version: WrittenVersion::OWN,
    }
}

/// Converts a result into a reply with the id of its request.
pub(crate) fn into_reply(id: &RequestId, result: Result<Reply, Cause>) -> Reply {
    result.unwrap_or_else(|cause| failed_reply(id, cause))
}
