//! Runs: their records, and the leases and fences that decide which pod may write to them.
//!
//! A run and the runs that it calls as steps are a tree, named by its root: the run that no run called. A tree
//! has one owner, with one lease and one fence. The next owner that claims the tree gets a larger fence. From
//! then on every write with the smaller fence to any run of the tree is rejected, no matter how long it was
//! delayed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::event::RunStatus;
use protocol::journal::RunStarted;
use protocol::{
    CallKey, ContentHash, IdempotencyKey, PodId, PrincipalId, Reply, RunId, TeamId, TenantId, Timestamp, WorkflowId,
};

use crate::error::StoreError;
use crate::journal::Seq;

pub use fence::Fence;

pub(crate) mod decode;
pub(crate) mod encoded;
pub(crate) mod fence;
pub(crate) mod leases;
pub(crate) mod record;

/// The key by which a repeated request is recognized and executed once, within one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DedupKey {
    /// The idempotency key of a principal. The keys of another one are other keys.
    Caller {
        /// The principal.
        principal: PrincipalId,
        /// The key.
        key: IdempotencyKey,
    },
    /// The key of a call that a run makes.
    Call(CallKey),
}

impl DedupKey {
    /// The key as it is stored. The prefix separates the two kinds.
    #[must_use]
    pub fn to_stored(&self) -> String {
        match self {
            // A hash contains no slash.
            Self::Caller { principal, key } => format!("caller:{}/{key}", principal.hash()),
            Self::Call(key) => format!("call:{key}"),
        }
    }
}

/// A run to create.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// The first entry of its journal: its id, owner, workflow, team and parent among others.
    pub started: Arc<RunStarted>,
    /// The hash of the request, by which a repeated request is recognized.
    pub request_hash: ContentHash,
    /// True if one of its agents processes personal data; the runs that called it then do too.
    pub personal_data: bool,
    /// The fence of the owner of its tree, for a run that another run calls. The run is created only if that run
    /// has not ended and has this owner.
    pub tree_fence: Option<Fence>,
    /// True if it is created without an owner, for any pod that has capacity for it. Only a store that pods share does
    /// that; in any other one its creator owns it.
    pub is_unowned: bool,
    /// The version of its journal. No pod claims its tree that does not read it, if pods share the store.
    pub journal_version: u32,
    /// The pod that will run it, or that has created it without an owner.
    pub pod: PodId,
    /// How long the lease of that pod lasts without a renewal.
    pub lease: Duration,
}

impl NewRun {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &RunId {
        &self.started.run
    }

    /// The tenant of its owner.
    pub(crate) fn tenant(&self) -> &TenantId {
        &self.started.owner.tenant
    }

    /// The run that calls it, and the fence of the owner of their tree.
    pub(crate) fn caller(&self) -> Option<(&RunId, Fence)> {
        self.started.parent.as_ref().zip(self.tree_fence)
    }
}

/// The result of creating a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The run was created, and the caller owns it.
    New(Fence),
    /// The same request created this run before.
    Existing(RunId),
    /// The key, or the run's id, was used before with another request.
    Conflict,
}

/// The state of a run that is known without reading its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// Its id.
    pub run: RunId,
    /// The principal who started it; it belongs to the tenant of its owner.
    pub owner: PrincipalId,
    /// Its workflow.
    pub workflow: WorkflowId,
    /// The version of the workflow that it is pinned to.
    pub version: ContentHash,
    /// The team that runs it.
    pub team: Option<TeamId>,
    /// The run that called it as a step.
    pub parent: Option<RunId>,
    /// The root of its tree; its own id if no run called it.
    pub root: RunId,
    /// The hash of the request that started it.
    pub request_hash: ContentHash,
    /// True if one of its agents, or of a run that it called, processes personal data.
    pub personal_data: bool,
    /// Its status.
    pub status: RunStatus,
    /// Steps that await an approval.
    pub pending_approvals: u32,
    /// The fence of the last owner of its tree.
    pub fence: Fence,
    /// The pod of that owner.
    pub pod: PodId,
    /// Of a root: how often its tree has failed since one of its runs last made progress.
    pub failures: u32,
    /// The number of its last journal entry; zero for none.
    pub seq: Seq,
    /// When it was created.
    pub created: Timestamp,
    /// When its status changed last.
    pub updated: Timestamp,
}

impl RunRecord {
    /// True if no run called it.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.run == self.root
    }
}

/// The time in which an owner of a tree was active. It worked on a run of the tree only if it has written to the
/// journal of the run since: before that, it had not resumed the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerActivity {
    /// Since when it could be the owner.
    pub since: Timestamp,
    /// Until when it is known to have been active.
    pub until: Timestamp,
}

/// A tree that was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedTree {
    /// The fence of the new owner.
    pub fence: Fence,
    /// How often the tree has failed since one of its runs last made progress.
    pub failures: u32,
    /// Its runs that have not ended, each after the run that called it.
    pub runs: Vec<RunRecord>,
    /// When the last owner that has written to one of its runs was active; none if that is not known.
    pub last_activity: Option<OwnerActivity>,
}

/// Which runs to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunFilter {
    /// Only runs of this tenant. None means all tenants, which only the platform itself may request.
    pub tenant: Option<TenantId>,
    /// Only runs with this status.
    pub status: Option<RunStatus>,
    /// Only runs of this workflow.
    pub workflow: Option<WorkflowId>,
}

/// One page of runs, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<RunRecord>,
    /// The next page contains the runs before this number; none if this is the last page.
    pub next: Option<u64>,
}

/// How many trees of runs a pod has or is to have, of all tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeCounts {
    /// Trees that are due and have no owner, or whose owner is dead. One that was given up is none of them, and one that
    /// waits for a later time or for a signal is not due.
    pub waiting: u64,
    /// Trees that have an owner.
    pub owned: u64,
}

impl TreeCounts {
    /// Counts of which each is at most the limit.
    pub(crate) fn bounded(waiting: usize, owned: usize, limit: u32) -> Self {
        let bounded = |count: usize| u64::try_from(count).unwrap_or(u64::MAX).min(u64::from(limit));
        Self { waiting: bounded(waiting), owned: bounded(owned) }
    }
}

/// Reads the records of runs. Runs are created, and their trees claimed and released, by a [`crate::core::Unit`].
#[async_trait]
pub trait RunStore: Send + Sync {
    /// Returns the record of a run; `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn get(&self, run: &RunId) -> Result<Option<RunRecord>, StoreError>;

    /// Returns the reply of a run; `None` if the run does not exist or has not ended.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn reply(&self, run: &RunId) -> Result<Option<Reply>, StoreError>;

    /// Lists at most `limit` runs before `before` (none: the newest), the newest first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn list(&self, filter: &RunFilter, before: Option<u64>, limit: u32) -> Result<RunPage, StoreError>;

    /// Lists the runs of a tree that have not ended, each after the run that called it.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn list_tree(&self, root: &RunId) -> Result<Vec<RunRecord>, StoreError>;

    /// Lists the runs of a tenant (none: of all) that have not ended and whose tree has no owner and was not given up,
    /// those of the oldest trees first; recovery resumes their trees.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn list_unclaimed(
        &self,
        tenant: Option<&TenantId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RunRecord>, StoreError>;

    /// Counts the trees of all tenants for which there is work at this time: at most `limit` of each kind. It reads no tree
    /// that only waits, however many there are.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn count_trees(&self, now: Timestamp, limit: u32) -> Result<TreeCounts, StoreError>;
}
