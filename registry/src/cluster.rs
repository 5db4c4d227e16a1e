//! What pods that share a database do for each other beyond units: claims of the trees of dead pods, trees that only
//! wait and are owned by no pod meanwhile, messages for runs that another pod owns, and what a pod knows of its own lease.
//! A store that one process owns has [`one_pod()`], for which there is nothing to do.

use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{PodId, RunId, TenantId, Timestamp};
use serde::Deserialize;
use tokio::sync::watch;

use crate::error::StoreError;
use crate::runs::{ClaimedTree, Fence};

mod lease;
mod one_pod;
mod pod_info;

pub use lease::{LeaseStatus, LeaseWatch, PodLease};
pub use one_pod::one_pod;
#[cfg(feature = "testing")]
pub use one_pod::one_pod_with_lease;
pub use pod_info::{ClusterFormat, Finalized, JOURNAL_VERSION, JOURNAL_VERSION_MIN, PodInfo};

/// A message for a run: a signal, a cancellation, a reply. The owner of the run records it in the journal by its id,
/// once, and then removes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RunMessage {
    /// The run.
    pub run: RunId,
    /// The id, which is unique within the run.
    pub id: String,
    /// The root of the run's tree.
    pub root: RunId,
    /// The content, which the sender has authenticated and judged.
    pub body: String,
    /// When it was sent, in microseconds since 1970-01-01, UTC.
    pub at: i64,
}

/// How much this pod has left to others since its start. They find it with their next tick, or sooner if they are notified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Announcements {
    /// Trees that were created without an owner.
    pub trees: u64,
    /// Messages that were sent to runs.
    pub messages: u64,
    /// Definitions and policies that were applied for every pod.
    pub generations: u64,
}

/// What there is to do for a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DueWork {
    /// A tree without an owner is to be claimed.
    pub has_due_trees: bool,
    /// Messages for the runs that this pod owns, the oldest first; not necessarily all.
    pub messages: Vec<RunMessage>,
    /// How many other pods this one has declared dead so far.
    pub pods_declared_dead: u64,
    /// By how many microseconds the wall clock of the machine is later than the clock of the pod, which is that of the
    /// database; negative if it is earlier.
    pub clock_offset_micros: i64,
    /// How often the lease of this pod has lapsed so far.
    pub lapses: u64,
    /// How many units of this pod were refused so far because another owner had claimed their run.
    pub fenced_writes: u64,
}

/// A tree that was due, and was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTree {
    /// Its root.
    pub root: RunId,
    /// How often its owner has died since one of its runs last made progress.
    pub attempts: u32,
    /// It was parked: it has only waited.
    pub was_parked: bool,
    /// The claimed tree.
    pub tree: ClaimedTree,
}

/// The part of a store that pods share.
#[async_trait]
pub trait ClusterStore: Send + Sync {
    /// True if other pods may use the store too.
    fn is_shared(&self) -> bool;

    /// Claims trees that are due and have no owner, or whose owner is dead: at most `limit`, of each tenant equally many,
    /// and none of these tenants. Trees of this pod come first whose leases are over.
    ///
    /// # Errors
    /// [`StoreError`]; trees that were claimed all the same are found by a later call.
    async fn claim_due(
        &self,
        pod: &PodId,
        lease: Duration,
        limit: u32,
        full_tenants: &[TenantId],
        now: Timestamp,
    ) -> Result<Vec<DueTree>, StoreError>;

    /// Ends the ownership of a tree that only waits. A pod claims it at this time, or, without one, when a message for
    /// one of its runs is sent. False, and then nothing changes, if the tree has another owner or a message already.
    ///
    /// # Errors
    /// [`StoreError`], and then it is not known whether the ownership has ended. If it has not, this pod may claim the tree
    /// at once.
    async fn park(
        &self,
        root: &RunId,
        fence: Fence,
        wake_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Ends the ownership of a tree that could not be resumed; it is due again at this time. False, and then nothing
    /// changes, if the tree has another owner.
    ///
    /// # Errors
    /// As [`ClusterStore::park`].
    async fn defer(&self, root: &RunId, fence: Fence, due_at: Timestamp, now: Timestamp) -> Result<bool, StoreError>;

    /// Sends a message to a run, whichever pod owns it, and waits until that is durable. The same id is sent once. False
    /// if the run does not exist or has ended.
    ///
    /// # Errors
    /// [`StoreError`], and then the message may be sent again.
    async fn send(&self, run: &RunId, id: &str, body: &str, now: Timestamp) -> Result<bool, StoreError>;

    /// True while a message waits for the owner of its run, which removes it once it has recorded or rejected it.
    ///
    /// # Errors
    /// [`StoreError`]
    async fn has_message(&self, run: &RunId, id: &str) -> Result<bool, StoreError>;

    /// Removes a message that is recorded in the journal of its run.
    ///
    /// # Errors
    /// [`StoreError`], and then it may be read again.
    async fn remove_message(&self, run: &RunId, id: &str) -> Result<(), StoreError>;

    /// Looks for what there is to do now, instead of at the next second: another pod has announced something. It is done
    /// at most ten times a second, however often this is called.
    fn nudge(&self) {}

    /// This pod has created a tree without an owner, which is durable.
    fn announce_tree(&self) {}

    /// Notifies of what this pod has left to others. A store without other pods never does, and its receiver is closed.
    fn watch_announcements(&self) -> watch::Receiver<Announcements> {
        watch::Sender::default().subscribe()
    }

    /// Records what this pod offers to others: its labels, and how many trees of runs it accepts at once; zero is no bound.
    ///
    /// # Errors
    /// [`StoreError`]
    async fn describe(&self, labels: &[String], capacity: u32) -> Result<(), StoreError>;

    /// The pods whose leases have not expired, the oldest first. A store that one process owns has none to list.
    ///
    /// # Errors
    /// [`StoreError`]
    async fn live_pods(&self) -> Result<Vec<PodInfo>, StoreError>;

    /// The newest version of journals that may be written: those of a later one are read by every pod once an operator has
    /// finalized it. A store that one process owns has that of this release.
    ///
    /// # Errors
    /// [`StoreError`]
    async fn journal_version(&self) -> Result<u32, StoreError> {
        Ok(JOURNAL_VERSION)
    }

    /// Notifies of what there is to do, about once a second.
    fn watch(&self) -> watch::Receiver<DueWork>;

    /// The lease of this pod. It notifies of renewals, and of the end.
    fn watch_lease(&self) -> LeaseWatch;
}

impl dyn ClusterStore + '_ {
    /// What the lease of this pod allows at this moment.
    #[must_use]
    pub fn lease_status(&self) -> LeaseStatus {
        self.watch_lease().status()
    }

    /// Rejects what a pod must not begin without its lease.
    ///
    /// # Errors
    /// [`StoreError::Lapsed`] or [`StoreError::PodDead`].
    pub fn check_lease(&self) -> Result<(), StoreError> {
        match self.lease_status() {
            LeaseStatus::Live => Ok(()),
            LeaseStatus::Lapsed => Err(StoreError::Lapsed),
            LeaseStatus::Dead => Err(StoreError::PodDead),
        }
    }

    /// Waits as long as the lease of this pod has lapsed.
    ///
    /// # Errors
    /// [`StoreError::PodDead`] if it is lost.
    pub async fn wait_lease(&self) -> Result<(), StoreError> {
        match self.watch_lease().wait().await {
            LeaseStatus::Live => Ok(()),
            LeaseStatus::Lapsed => Err(StoreError::Closed),
            LeaseStatus::Dead => Err(StoreError::PodDead),
        }
    }

    /// Waits until another pod has declared this one dead.
    pub async fn wait_dead(&self) {
        if !self.watch_lease().wait_lost().await {
            // The store was dropped.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pod_whose_store_is_its_own_always_has_its_lease() {
        let cluster = one_pod();
        assert_eq!(cluster.lease_status(), LeaseStatus::Live);
        assert!(!cluster.is_shared() && cluster.wait_lease().await.is_ok());
        let mut dead = Box::pin(cluster.wait_dead());
        assert!(futures::poll!(&mut dead).is_pending());
    }
}
