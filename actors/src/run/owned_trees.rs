//! The trees of runs that this pod owns and that something uses here: an actor, a start or a resumption. Whether the
//! lease of a tree is over is decided by the wall clock, which may be put forward, and a process that was stopped renews
//! its leases later than it should. Neither makes a tree of the pod itself due as long as it is used.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_protocol::{RunId, Timestamp};
use greenroom_registry::core::CoreStore;
use greenroom_registry::runs::Fence;

/// The trees that this pod owns and uses, each with its fences: more than one, if it was lost and is owned again.
#[derive(Debug, Default)]
pub(super) struct OwnedTrees(Mutex<HashMap<RunId, Vec<Fence>>>);

impl OwnedTrees {
    fn trees(&self) -> MutexGuard<'_, HashMap<RunId, Vec<Fence>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a tree that is used from now on.
    pub(super) fn insert(&self, root: &RunId, fence: Fence) {
        self.trees().entry(root.clone()).or_default().push(fence);
    }

    /// Removes a tree that nothing uses any more.
    pub(super) fn remove(&self, root: &RunId, fence: Fence) {
        let mut trees = self.trees();
        if let Some(fences) = trees.get_mut(root) {
            fences.retain(|owned| *owned != fence);
            if fences.is_empty() {
                trees.remove(root);
            }
        }
    }

    /// The fence of a tree; the latest one, if this pod has lost it and owns it again.
    pub(super) fn fence(&self, root: &RunId) -> Option<Fence> {
        self.trees().get(root).and_then(|fences| fences.iter().max().copied())
    }

    /// Renews the leases of all of them.
    pub(super) async fn renew(&self, core: &dyn CoreStore, lease: Duration, now: Timestamp) {
        let of_tree = |(root, fences): (&RunId, &Vec<Fence>)| {
            fences.iter().map(|fence| (root.clone(), *fence)).collect::<Vec<_>>()
        };
        let trees: Vec<(RunId, Fence)> = self.trees().iter().flat_map(of_tree).collect();
        for (root, fence) in trees {
            if let Err(error) = core.renew(&root, fence, lease, now).await {
                // The task that renews its lease stops its actors, if it has another owner.
                tracing::debug!(run.id = %root, error = %error, "lease could not be renewed");
            }
        }
    }
}
