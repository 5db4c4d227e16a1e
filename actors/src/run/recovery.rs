//! Recovery of trees of runs that have not ended and have no owner, as after a crash. A tree is claimed first and
//! judged afterwards: its root is resumed by a request through the pipeline in the name of its recorded owner, who is
//! authenticated and authorized again. This is no request of the user, so it needs no quota. A tree that cannot be
//! resumed is tried again after a delay, as often as the restart policy of runs allows.
//!
//! In a store that one process owns, a round lists the trees. In one that pods share, it claims those that are due, at
//! most as many as the pod has capacity for. A tree that has failed too often without progress, or whose owners have died
//! too often, is given up.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use greenroom_protocol::request::ResumeRun;
use greenroom_protocol::{Cause, Deadline, ErrorCode, Reply, RequestId, RunId, Status, TenantId, TraceId};
use greenroom_registry::cluster::DueTree;
use greenroom_registry::runs::{ClaimedTree, RunRecord};
use greenroom_rego::{AuthMethod, Permitted, RecoveryRequest};

use super::handle::{RunsHandle, into_reply};
use super::message::{PendingResume, UnneededRun};
use super::resume::ResumedRun;
use super::tree::RunTree;
use super::{RECOVERY_CONCURRENCY, RunEnv};
use crate::dispatcher::{RunTicket, RunVacancy};
use crate::observer::ActorEvent;

/// Runs of one recovery; the next recovery resumes the rest.
const RECOVERY_BATCH_MAX: u32 = 10_000;
/// Timeout of the resumption of one run.
const RESUME_TIMEOUT: Duration = Duration::from_secs(60);
/// When a tree is due again that was claimed and could not be resumed.
const DEFERRAL: Duration = Duration::from_secs(2);

/// Result of one recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Trees that were resumed.
    pub resumed: usize,
    /// Trees that were ended: their root has ended, or their user is unknown or is no longer permitted to resume them.
    pub terminated: usize,
    /// Trees that were given up: too many attempts to resume them have failed.
    pub dead: usize,
    /// Trees that could not be resumed now; a later recovery tries them again.
    pub deferred: usize,
}

/// Outcome of the recovery of one tree.
#[derive(Debug)]
pub(super) enum TreeRecovery {
    Resumed,
    /// Its runs have ended with this cause.
    Ended(Cause),
    /// It was given up for this cause.
    Dead(Cause),
}

impl RecoveryReport {
    fn add(&mut self, root: &RunId, recovered: Result<TreeRecovery, Cause>) {
        match recovered {
            Ok(TreeRecovery::Resumed) => self.resumed += 1,
            Ok(TreeRecovery::Ended(cause)) => {
                tracing::warn!(run.id = %root, cause = %cause.code, "tree of runs was ended by recovery");
                self.terminated += 1;
            }
            Ok(TreeRecovery::Dead(cause)) => {
                tracing::warn!(run.id = %root, cause = %cause, "tree of runs is dead");
                self.dead += 1;
            }
            Err(cause) => {
                tracing::warn!(run.id = %root, cause = %cause, "tree of runs was not resumed");
                self.deferred += 1;
            }
        }
    }
}

/// Removes what a resumption has not taken, also if its caller has gone: a tree that remained there would be owned by
/// this pod, and nothing would resume it.
struct UntakenResume<'r> {
    runs: &'r RunsHandle,
    run: &'r RunId,
}

impl Drop for UntakenResume<'_> {
    fn drop(&mut self) {
        let removed = self.runs.pending_resumes().remove(self.run);
        // Dropped without the lock, because a tree that is dropped sends a message.
        drop(removed);
    }
}

/// A tree that was due and that this pod owns now.
struct OwnedDueTree {
    tree: Arc<RunTree>,
    attempts: u32,
}

impl RunsHandle {
    /// Resumes every tree of a tenant (none: of all) that has not ended and has no owner: the oldest first,
    /// [`RECOVERY_CONCURRENCY`] concurrently.
    ///
    /// # Errors
    /// An error of the store, if it cannot list the runs.
    pub async fn recover(&self, tenant: Option<&TenantId>) -> Result<RecoveryReport, Cause> {
        let RunEnv { stores, clock, .. } = &**self.env();
        let records =
            stores.runs.list_unclaimed(tenant, clock.now(), RECOVERY_BATCH_MAX).await.map_err(|error| error.cause())?;
        let mut roots = HashSet::new();
        let is_due = |record: &RunRecord| {
            roots.insert(record.root.clone())
                && !self.is_delayed(&record.root)
                && !self.hosted_runs().has_tree(&record.root)
        };
        let trees: Vec<RunRecord> = records.into_iter().filter(is_due).collect();
        let mut report = RecoveryReport::default();
        let each = futures::stream::iter(trees).map(async |record| {
            let recovered = self.recover_tree(&record.root, &record.owner.tenant).await;
            (record, recovered)
        });
        let mut recovered = std::pin::pin!(each.buffer_unordered(RECOVERY_CONCURRENCY));
        while let Some((record, recovered)) = recovered.next().await {
            report.add(&record.root, recovered);
        }
        Ok(report)
    }

    /// Claims the trees that are due in a store that pods share, at most as many as this pod has capacity for, and
    /// resumes them.
    ///
    /// # Errors
    /// An error of the store, if it cannot claim trees.
    pub async fn recover_due(&self) -> Result<RecoveryReport, Cause> {
        let RunEnv { stores, admission, clock, pod, lease, .. } = &**self.env();
        let RunVacancy { runs, full_tenants } = admission.vacancy();
        if runs == 0 {
            return Ok(RecoveryReport::default());
        }
        let (limit, now) = (u32::try_from(runs).unwrap_or(u32::MAX), clock.now());
        // By the same time, so that no tree of this pod is due while it is used.
        self.owned_trees().renew(&*stores.core, *lease, now).await;
        let claimed = stores.cluster.claim_due(pod, *lease, limit, &full_tenants, now).await;
        // From now on the lease of each is renewed, also while others are resumed.
        let trees = self.own_due_trees(claimed.map_err(|error| error.cause())?);
        let mut report = RecoveryReport::default();
        let each = futures::stream::iter(trees).map(async |due| {
            let root = due.tree.root().clone();
            (root, self.resume_due(due).await)
        });
        let mut resumed = std::pin::pin!(each.buffer_unordered(RECOVERY_CONCURRENCY));
        while let Some((root, resumed)) = resumed.next().await {
            report.add(&root, resumed);
        }
        Ok(report)
    }

    fn own_due_trees(&self, claimed: Vec<DueTree>) -> Vec<OwnedDueTree> {
        let woken = claimed.iter().filter(|due| due.was_parked).count();
        if !claimed.is_empty() {
            tracing::info!(trees.claimed = claimed.len(), trees.woken = woken, "claimed trees of runs");
        }
        let own = |due: DueTree| {
            let DueTree { root, attempts, was_parked, tree } = due;
            self.env().observer.on_event(ActorEvent::TreeClaimed { was_parked });
            OwnedDueTree { tree: self.own_claimed_tree(root, tree), attempts }
        };
        claimed.into_iter().map(own).collect()
    }

    /// Resumes a tree that was due. One that cannot be resumed now is due again after a delay, for any pod.
    ///
    /// # Errors
    /// As [`RunsHandle::recover_tree`].
    async fn resume_due(&self, due: OwnedDueTree) -> Result<TreeRecovery, Cause> {
        let OwnedDueTree { tree, attempts } = due;
        let RunEnv { stores, admission, clock, .. } = &**self.env();
        let ticket = match tree.claimed_runs().first() {
            Some(record) => admission.admit(&record.owner.tenant),
            None => Err(Cause::new(ErrorCode::RunNotActive, "all runs of the tree have ended")),
        };
        let resumed = match ticket {
            Ok(ticket) => self.resume_claimed(&tree, attempts, ticket).await,
            Err(cause) => Err(cause),
        };
        // A tree that is active although its resumption took too long remains.
        if resumed.is_err() && !self.hosted_runs().has_tree(tree.root()) {
            let now = clock.now();
            match stores.cluster.defer(tree.root(), tree.fence(), now.saturating_add(DEFERRAL), now).await {
                Ok(true) => tree.set_released(),
                // It has failed, and has a delay of its own; or another pod owns it.
                Ok(false) => {}
                Err(error) => tracing::warn!(run.id = %tree.root(), error = %error, "a tree of runs was not deferred"),
            }
        }
        resumed
    }

    /// Claims a tree and resumes it in the name of its owner.
    ///
    /// # Errors
    /// The cause by which it was not resumed; a later attempt may succeed.
    async fn recover_tree(&self, root: &RunId, tenant: &TenantId) -> Result<TreeRecovery, Cause> {
        // Before the claim, so that a pod without capacity leaves the tree to another one.
        let ticket = self.env().admission.admit(tenant)?;
        let claim = self.claim(root).await?;
        let tree = self.own_claimed_tree(root.clone(), claim);
        self.resume_claimed(&tree, 0, ticket).await
    }

    /// Resumes a claimed tree in the name of its owner, ends it, or gives it up.
    ///
    /// # Errors
    /// As [`RunsHandle::recover_tree`].
    async fn resume_claimed(
        &self,
        tree: &Arc<RunTree>,
        attempts: u32,
        ticket: RunTicket,
    ) -> Result<TreeRecovery, Cause> {
        let root = tree.root();
        if !tree.claimed_runs().iter().any(RunRecord::is_root) {
            let cause = caller_ended_error(root);
            for record in tree.claimed_orphans() {
                self.end_unhosted(&record.run, tree, &cause).await;
            }
            return Ok(TreeRecovery::Ended(cause));
        }
        if let Some(cause) = self.judge_claimed(tree, attempts).await? {
            return Ok(TreeRecovery::Dead(cause));
        }
        self.resume_judged(tree, ticket).await
    }

    /// Resumes a claimed tree that may be resumed, in the name of its owner, or ends it.
    ///
    /// # Errors
    /// As [`RunsHandle::recover_tree`].
    pub(super) async fn resume_judged(&self, tree: &Arc<RunTree>, ticket: RunTicket) -> Result<TreeRecovery, Cause> {
        let root = tree.root();
        let pending = PendingResume { tree: tree.clone(), ticket: Some(ticket), end: None };
        let Err(cause) = self.request_resume(root, pending).await else {
            self.end_orphans(tree);
            return Ok(TreeRecovery::Resumed);
        };
        match cause.code {
            ErrorCode::Unauthenticated | ErrorCode::PolicyDenied | ErrorCode::TooManyHops => {
                self.end_tree(tree, &cause).await?;
                Ok(TreeRecovery::Ended(cause))
            }
            code if code.is_retryable() => Err(cause),
            _ => {
                let RunEnv { stores, clock, .. } = &**self.env();
                let (delay, now) = (self.delay_recovery(tree), clock.now());
                let failed = stores.core.fail_tree_until(root, tree.fence(), now.saturating_add(delay), now).await;
                failed.map_err(|error| error.cause())?;
                Err(cause)
            }
        }
    }

    /// Ends the runs of a resumed tree whose caller had ended before its process could end them.
    fn end_orphans(&self, tree: &Arc<RunTree>) {
        for record in tree.claimed_orphans() {
            let caller = record.parent.as_ref().unwrap_or(&record.root);
            let (run, cause) = (record.run.clone(), caller_ended_error(caller));
            self.end_unneeded(UnneededRun { run, caller: None, tree: tree.clone(), cause });
        }
    }

    /// Claims a tree that has no owner.
    ///
    /// # Errors
    /// [`ErrorCode::RunNotActive`] if it has ended or has an owner; an error of the stores.
    pub(super) async fn claim(&self, root: &RunId) -> Result<ClaimedTree, Cause> {
        let RunEnv { stores, clock, pod, lease, .. } = &**self.env();
        let claimed = stores.core.claim_tree(root, pod, *lease, clock.now()).await.map_err(|error| error.cause())?;
        if let Some(claim) = claimed {
            return Ok(claim);
        }
        let record = self.record(root).await?;
        Err(if record.status.is_terminal() {
            Cause::new(ErrorCode::RunNotActive, format!("the run has ended as {}", record.status.as_str()))
        } else {
            Cause::new(ErrorCode::RunNotActive, format!("the run is active on {}", record.pod))
        })
    }

    /// Resumes a run of a claimed tree by a request in the name of its recorded owner.
    ///
    /// # Errors
    /// The cause by which the request was rejected, denied or failed, or [`ErrorCode::Internal`] if it panicked.
    pub(super) async fn request_resume(&self, run: &RunId, pending: PendingResume) -> Result<(), Cause> {
        let RunEnv { pipeline, clock, authenticator, ids, .. } = &**self.env();
        let (record, now) = (self.record(run).await?, clock.now());
        let recovery = RecoveryRequest {
            id: RequestId::from_u128(ids.next_id()),
            trace: TraceId::from_u128(ids.next_id()),
            owner: record.owner,
            run: run.clone(),
            deadline: Deadline::after(now, RESUME_TIMEOUT),
            now,
        };
        let request = authenticator.recover(recovery).await?;
        self.pending_resumes().insert(run.clone(), pending);
        let untaken = UntakenResume { runs: self, run };
        // A run that cannot be read must not end the round of recovery for all others.
        let handled = AssertUnwindSafe(pipeline.handle(request)).catch_unwind().await;
        drop(untaken);
        let reply = handled.map_err(|_| Cause::new(ErrorCode::Internal, "the resumption of the run panicked"))?;
        match (reply.status, reply.error) {
            (Status::Success, _) => Ok(()),
            (_, Some(cause)) => Err(cause),
            (status, None) => {
                Err(Cause::new(ErrorCode::Internal, format!("the resumption ended as {}", status.as_str())))
            }
        }
    }

    /// Resumes the tree of an interrupted run and replies as soon as its root is active. The run continues as its
    /// recorded owner; the user who resumes it is judged for that only.
    pub async fn resume(&self, permit: Permitted<ResumeRun>) -> Reply {
        let id = permit.grant().request_id().clone();
        into_reply(&id, self.try_resume(permit).await)
    }

    async fn try_resume(&self, permit: Permitted<ResumeRun>) -> Result<Reply, Cause> {
        let (grant, ResumeRun { run, dead }) = permit.redeem();
        if grant.auth_method() == AuthMethod::RecordedOwner {
            let pending = self.pending_resumes().remove(&run);
            let PendingResume { tree, ticket, end } =
                pending.ok_or_else(|| Cause::new(ErrorCode::RunNotActive, "this pod has not claimed the run"))?;
            let resumed = ResumedRun { run: &run, tree: &tree, grant: &grant, caller: None, ticket };
            self.resume_from_journal(resumed).await?;
            if let Some(cause) = end {
                self.terminate(&run, cause);
            }
            return self.status_reply(&run).await;
        }
        let record = self.record(&run).await?;
        if dead {
            return self.retry_dead(&record, grant.principal().id.user.clone()).await;
        }
        if record.status.is_terminal() {
            let message = format!("the run has ended as {}", record.status.as_str());
            return Err(Cause::new(ErrorCode::RunNotActive, message));
        }
        if self.hosted_runs().has_tree(&record.root) {
            return self.status_reply(&run).await;
        }
        self.require_not_dead(&record).await?;
        match self.recover_tree(&record.root, &record.owner.tenant).await? {
            TreeRecovery::Resumed => self.status_reply(&run).await,
            TreeRecovery::Ended(cause) | TreeRecovery::Dead(cause) => Err(cause),
        }
    }
}

/// The cause of a run that no call resumes, because the run that called it has ended.
fn caller_ended_error(caller: &RunId) -> Cause {
    Cause::new(ErrorCode::Cancelled, format!("the run {caller} that called it has ended"))
}
