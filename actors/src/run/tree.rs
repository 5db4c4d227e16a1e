//! What the runs of one tree share on this pod: its owner's fence and lease, and what was known when it was claimed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use greenroom_protocol::{Clock, RunId};
use greenroom_registry::core::CoreStore;
use greenroom_registry::journal::JournalError;
use greenroom_registry::runs::{ClaimedTree, Fence, OwnerActivity, RunRecord};

/// A tree of runs that this pod owns. Each of its actors and each of its starts holds a clone; the lease is released
/// when the last one is dropped.
pub(super) struct RunTree {
    root: RunId,
    fence: Fence,
    failures: u32,
    last_activity: Option<OwnerActivity>,
    claimed: Vec<RunRecord>,
    /// Its ownership has ended, so there is nothing to release.
    is_released: AtomicBool,
    /// Set once this pod owns it.
    on_drop: OnceLock<OnDrop>,
}

/// Called when a tree is dropped; the last argument is true if its ownership has ended before.
type OnDrop = Box<dyn Fn(&RunId, Fence, bool) + Send + Sync>;

impl RunTree {
    /// The tree of a root that is being created on this pod. Its first calls have it, and this pod owns it once the root
    /// is durable.
    pub(super) fn to_create(root: RunId) -> Self {
        Self::claimed(root, ClaimedTree { fence: Fence::FIRST, failures: 0, runs: Vec::new(), last_activity: None })
    }

    /// A tree that this pod has claimed.
    pub(super) fn claimed(root: RunId, claim: ClaimedTree) -> Self {
        let ClaimedTree { fence, failures, runs: claimed, last_activity } = claim;
        let is_released = AtomicBool::new(false);
        Self { root, fence, failures, last_activity, claimed, is_released, on_drop: OnceLock::new() }
    }

    /// From now on this pod owns the tree, until it is dropped; then `on_drop` is called. A second call does nothing.
    pub(super) fn own(&self, on_drop: impl Fn(&RunId, Fence, bool) + Send + Sync + 'static) {
        drop(self.on_drop.set(Box::new(on_drop)));
    }

    /// The run that no run called.
    pub(super) const fn root(&self) -> &RunId {
        &self.root
    }

    /// The fence of all writes to runs of the tree.
    pub(super) const fn fence(&self) -> Fence {
        self.fence
    }

    /// Records that its ownership has ended.
    pub(super) fn set_released(&self) {
        self.is_released.store(true, Ordering::Release);
    }

    /// How often the tree has failed since one of its runs last made progress.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// True if this pod has claimed the tree, and not started it.
    pub(super) const fn is_claimed(&self) -> bool {
        !self.claimed.is_empty()
    }

    /// When its last owner was active; none if that is not known, or if there was none.
    pub(super) const fn last_activity(&self) -> Option<OwnerActivity> {
        self.last_activity
    }

    /// The runs that had not ended when the tree was claimed, each after the run that called it.
    pub(super) fn claimed_runs(&self) -> &[RunRecord] {
        &self.claimed
    }

    /// The runs that had not ended when the tree was claimed although the run that called them had: no call resumes
    /// them.
    pub(super) fn claimed_orphans(&self) -> impl Iterator<Item = &RunRecord> {
        let is_open = |run: &RunId| self.claimed.iter().any(|record| record.run == *run);
        self.claimed.iter().filter(move |record| record.parent.as_ref().is_some_and(|parent| !is_open(parent)))
    }

    /// The runs that a run had called and that had not ended when the tree was claimed.
    pub(super) fn claimed_below<'t>(&'t self, parent: &'t RunId) -> impl Iterator<Item = &'t RunRecord> {
        self.claimed.iter().filter(move |record| record.parent.as_ref() == Some(parent))
    }
}

impl Drop for RunTree {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.get() {
            on_drop(&self.root, self.fence, self.is_released.load(Ordering::Acquire));
        }
    }
}

/// Renews the lease of a tree until it is dropped. Returns false if another pod owns the tree.
pub(super) async fn renew_lease(
    tree: Weak<RunTree>,
    core: Arc<dyn CoreStore>,
    clock: Arc<dyn Clock>,
    lease: Duration,
) -> bool {
    loop {
        tokio::time::sleep(lease / 3).await;
        let Some(tree) = tree.upgrade() else { return true };
        match core.renew(&tree.root, tree.fence, lease, clock.now()).await {
            Ok(()) => {}
            Err(JournalError::Fenced | JournalError::Unknown | JournalError::Ended) => return false,
            Err(error) => tracing::warn!(run.id = %tree.root, error = %error, "lease could not be renewed"),
        }
    }
}
