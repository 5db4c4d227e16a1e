//! Runs that were given up: the tree of such a run failed at each attempt to resume it, or its pod died. It has not ended,
//! and no pod resumes it. A user has it continued from its journal, or cancels it.
//!
//! The record is an entry in the journal of the root, so it has a time, survives whatever happens to the pod, and is seen
//! by whoever watches the run. Only the owner of the tree writes it, as every entry.

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{Cause, ErrorCode, Reply, RunId, Timestamp, UserId};
use greenroom_registry::journal::{AppendPosition, Seq};
use greenroom_registry::runs::{ClaimedTree, RunRecord};
use serde_json::json;

use super::RunEnv;
use super::handle::{RunsHandle, status_to_reply};
use super::recovery::TreeRecovery;
use super::tree::RunTree;
use crate::supervision::ChildKind;

/// Deaths of the owners of a tree, since one of its runs last made progress, after which it is not resumed any more.
const ATTEMPTS_MAX: u32 = 5;

impl RunsHandle {
    /// The cause for which a claimed tree is not resumed, because it was given up before or is now; none if it may be.
    ///
    /// # Errors
    /// An error of the stores.
    pub(super) async fn judge_claimed(&self, tree: &RunTree, attempts: u32) -> Result<Option<Cause>, Cause> {
        let Some(root) = tree.claimed_runs().iter().find(|record| record.is_root()) else { return Ok(None) };
        let cause = if root.status == RunStatus::Dead {
            self.dead_cause(root).await?.unwrap_or_else(|| dead_error(&root.run))
        } else if let Some(cause) = given_up_error(&root.run, tree.failures(), attempts) {
            let (failures, entry_cause) = (tree.failures(), cause.clone());
            self.append_to_root(tree, Entry::RunGivenUp { cause: entry_cause, failures, attempts }).await?;
            cause
        } else {
            return Ok(None);
        };
        self.end_ownership(tree).await;
        Ok(Some(cause))
    }

    /// Ends the ownership of a dead tree, so that no pod finds it due.
    async fn end_ownership(&self, tree: &RunTree) {
        let RunEnv { stores, clock, .. } = &**self.env();
        let due_at = Timestamp::from_micros(i64::MAX);
        match stores.cluster.defer(tree.root(), tree.fence(), due_at, clock.now()).await {
            Ok(true) => tree.set_released(),
            // One process has the store, whose recovery does not list it. If another pod owns it, this changes nothing.
            Ok(false) => {
                stores.core.release_tree(tree.root(), tree.fence(), clock.now()).await;
                tree.set_released();
            }
            // A pod claims it again, and finds that it is dead.
            Err(error) => tracing::warn!(run.id = %tree.root(), error = %error, "a dead tree of runs is still due"),
        }
    }

    /// The cause for which a run was given up; none if it has been continued meanwhile.
    ///
    /// # Errors
    /// An error of the journal.
    pub(super) async fn dead_cause(&self, record: &RunRecord) -> Result<Option<Cause>, Cause> {
        // A dead run has no later entry.
        let before = Seq(record.seq.0.saturating_sub(1));
        let last = self.env().stores.journal.read(&record.run, before, 1).await.map_err(|error| error.cause())?;
        Ok(last.into_iter().next().and_then(|last| match last.entry {
            Entry::RunGivenUp { cause, .. } => Some(cause),
            _ => None,
        }))
    }

    /// The root of the tree of a run, if it is dead.
    ///
    /// # Errors
    /// An error of the stores.
    async fn dead_root(&self, record: &RunRecord) -> Result<Option<RunRecord>, Cause> {
        let root = if record.is_root() { record.clone() } else { self.record(&record.root).await? };
        Ok((root.status == RunStatus::Dead).then_some(root))
    }

    /// Rejects a request that only a run accepts whose tree is not dead.
    ///
    /// # Errors
    /// [`ErrorCode::RunNotActive`] if it is dead; an error of the stores.
    pub(super) async fn require_not_dead(&self, record: &RunRecord) -> Result<(), Cause> {
        match self.dead_root(record).await? {
            Some(root) => Err(dead_error(&root.run)),
            None => Ok(()),
        }
    }

    /// Has the tree of a dead run continued from its journal, as its owner: failures and attempts are counted anew. The
    /// user has the permission to resume it, and is named in its journal.
    ///
    /// # Errors
    /// [`ErrorCode::RunNotActive`] if it is not dead; an error of the stores; the cause by which it could not be resumed
    /// now. Recovery resumes it later, if it was reopened.
    pub(super) async fn retry_dead(&self, record: &RunRecord, by: UserId) -> Result<Reply, Cause> {
        let root = self.dead_root(record).await?.ok_or_else(|| not_dead_error(record))?;
        // Before the claim, so that a pod without capacity changes nothing.
        let ticket = self.env().admission.admit(&root.owner.tenant)?;
        let claim = self.claim_dead(record, &root).await?;
        let tree = self.own_claimed_tree(root.run, ClaimedTree { failures: 0, ..claim });
        self.append_to_root(&tree, Entry::RunReopened { by }).await?;
        match self.resume_judged(&tree, ticket).await? {
            TreeRecovery::Resumed => self.status_reply(&record.run).await,
            TreeRecovery::Ended(cause) | TreeRecovery::Dead(cause) => Err(cause),
        }
    }

    /// Ends the tree of a dead root for a user who cancels it. None of its actors is started, so nothing is compensated.
    ///
    /// # Errors
    /// [`ErrorCode::RunNotActive`] if it is not dead any more; an error of the stores.
    pub(super) async fn cancel_dead(&self, root: &RunRecord, by: &UserId) -> Result<Reply, Cause> {
        let claim = self.claim_dead(root, root).await?;
        let tree = self.own_claimed_tree(root.run.clone(), claim);
        let cause = Cause::new(ErrorCode::Cancelled, format!("the run was cancelled by {by}"));
        self.end_tree(&tree, &cause).await?;
        Ok(status_to_reply(&root.run, RunStatus::Cancelled))
    }

    /// Claims a dead tree.
    async fn claim_dead(&self, record: &RunRecord, root: &RunRecord) -> Result<ClaimedTree, Cause> {
        let claim = self.claim(&root.run).await?;
        if claim.runs.iter().any(|claimed| claimed.run == root.run && claimed.status == RunStatus::Dead) {
            return Ok(claim);
        }
        // Another user was faster. The tree is released again, and is due.
        drop(self.own_claimed_tree(root.run.clone(), claim));
        Err(not_dead_error(record))
    }

    async fn append_to_root(&self, tree: &RunTree, entry: Entry) -> Result<(), Cause> {
        let RunEnv { stores, clock, .. } = &**self.env();
        let (after, _) = self.replay(tree.root()).await?;
        let position = AppendPosition { run: tree.root(), fence: tree.fence(), after };
        let receipt = stores.core.append(position, &[entry], clock.now()).await;
        receipt.map(drop).map_err(|error| error.cause())
    }
}

/// The cause of a request that a dead run does not accept.
fn dead_error(root: &RunId) -> Cause {
    let message = format!(
        "the run {root} is dead: it was given up after several failures; `greenroom runs dead retry {root}` has it \
         continued, and `greenroom runs cancel {root}` ends it"
    );
    Cause::new(ErrorCode::RunNotActive, message)
}

fn not_dead_error(record: &RunRecord) -> Cause {
    let status = record.status.as_str();
    Cause::new(
        ErrorCode::RunNotActive,
        format!("the run is not dead, so it is not tried again: its status is {status}"),
    )
    .with_details(json!({ "status": status }))
}

/// The cause of a run that failed again at each attempt to resume it, or whose pod died each time; none if it may be
/// resumed again.
fn given_up_error(root: &RunId, failures: u32, attempts: u32) -> Option<Cause> {
    let (message, details) = if failures > ChildKind::Run.restart_policy().restarts_max {
        (format!("the run failed {failures} times in a row"), json!({ "failures": failures }))
    } else if attempts > ATTEMPTS_MAX {
        (format!("{attempts} pods in a row died while they ran it"), json!({ "attempts": attempts }))
    } else {
        return None;
    };
    let message = format!(
        "{message} without progress, and is not resumed any more until `greenroom runs dead retry {root}` is requested"
    );
    Some(Cause::new(ErrorCode::Internal, message).with_details(details))
}
