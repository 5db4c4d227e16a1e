//! What pods that share a database do for each other beyond units: claims of the trees of dead pods, trees that only
//! wait and are owned by no pod meanwhile, and messages for runs that another pod owns.

use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{PodId, RunId, Timestamp};
use serde::Deserialize;
use tokio::sync::watch;

use crate::error::StoreError;
use crate::runs::{ClaimedTree, Fence};

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

/// What there is to do for a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DueWork {
    /// A tree without an owner is to be claimed.
    pub has_due_trees: bool,
    /// Messages for the runs that this pod owns, the oldest first; not necessarily all.
    pub messages: Vec<RunMessage>,
}

/// A tree that was due, and was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTree {
    /// Its root.
    pub root: RunId,
    /// How often its owner has died since one of its runs last made progress.
    pub attempts: u32,
    /// The claimed tree.
    pub tree: ClaimedTree,
}

/// The part of a store that pods share.
#[async_trait]
pub trait ClusterStore: Send + Sync {
    /// Claims trees that are due and have no owner, or whose owner is dead: at most `limit`, of each tenant equally many.
    ///
    /// # Errors
    /// [`StoreError`]; trees that were claimed all the same are found by the next call.
    async fn claim_due(
        &self,
        pod: &PodId,
        lease: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<DueTree>, StoreError>;

    /// Ends the ownership of a tree that only waits. A pod claims it at this time, or, without one, when a message for
    /// one of its runs is sent. False, and then nothing changes, if the tree has another owner or a message already.
    ///
    /// # Errors
    /// [`StoreError`], and then it is not known whether the ownership has ended.
    async fn park(
        &self,
        root: &RunId,
        fence: Fence,
        wake_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Sends a message to a run, whichever pod owns it, and waits until that is durable. The same id is sent once. False
    /// if the run does not exist or has ended.
    ///
    /// # Errors
    /// [`StoreError`], and then the message may be sent again.
    async fn send(&self, run: &RunId, id: &str, body: &str, now: Timestamp) -> Result<bool, StoreError>;

    /// Removes a message that is recorded in the journal of its run.
    ///
    /// # Errors
    /// [`StoreError`], and then it may be read again.
    async fn remove_message(&self, run: &RunId, id: &str) -> Result<(), StoreError>;

    /// Notifies of what there is to do, about once a second.
    fn watch(&self) -> watch::Receiver<DueWork>;
}
