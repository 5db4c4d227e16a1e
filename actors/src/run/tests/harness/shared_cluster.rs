//! Stores in memory, as if other pods used them too: what a pod leaves is claimed again, by itself or by another harness
//! over the same stores.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::{PodId, RunId, TenantId, Timestamp};
use greenroom_registry::cluster::{
    Announcements, ClusterStore, DueTree, DueWork, JOURNAL_VERSION, LeaseWatch, PodInfo, PodLease, RunMessage,
};
use greenroom_registry::runs::{Fence, RunRecord};
use greenroom_registry::{StoreError, Stores};
use tokio::sync::watch;

#[derive(Default)]
struct Waiting {
    /// The roots of the trees that wait, and until when.
    trees: HashMap<RunId, (Timestamp, bool)>,
    messages: Vec<RunMessage>,
}

/// How the end of an ownership fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParkFault {
    NotExecuted,
    NotAcknowledged,
}

pub(crate) struct SharedCluster {
    stores: Stores,
    waiting: Mutex<Waiting>,
    /// How the next parking fails.
    pub(crate) park_fault: Mutex<Option<ParkFault>>,
    /// How often the owner of each tree has died.
    pub(crate) attempts: AtomicU32,
    /// The newest version of journals that the pods have agreed on.
    pub(crate) journal_version: AtomicU32,
    work: watch::Sender<DueWork>,
    lease: watch::Sender<PodLease>,
    announcements: watch::Sender<Announcements>,
}

impl SharedCluster {
    /// These stores with a cluster of more than one pod.
    pub(crate) fn over(stores: Stores) -> (Arc<Self>, Stores) {
        let cluster = Arc::new(Self {
            stores: stores.clone(),
            waiting: Mutex::default(),
            park_fault: Mutex::default(),
            attempts: AtomicU32::new(0),
            journal_version: AtomicU32::new(JOURNAL_VERSION),
            work: watch::Sender::new(DueWork::default()),
            lease: watch::Sender::new(PodLease::Unlimited),
            announcements: watch::Sender::default(),
        });
        (cluster.clone(), Stores { cluster, ..stores })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap()
    }

    /// The messages that no owner has removed yet.
    pub(crate) fn messages(&self) -> Vec<RunMessage> {
        self.waiting().messages.clone()
    }

    /// True if this tree is parked.
    pub(crate) fn is_parked(&self, root: &RunId) -> bool {
        self.waiting().trees.get(root).is_some_and(|(_, is_parked)| *is_parked)
    }

    /// Takes a tree that is due; none if it waits, else whether it was parked.
    fn take_due(&self, root: &RunId, now: Timestamp) -> Option<bool> {
        let mut waiting = self.waiting();
        match waiting.trees.get(root) {
            Some((until, _)) if *until > now => None,
            Some(_) | None => Some(waiting.trees.remove(root).is_some_and(|(_, is_parked)| is_parked)),
        }
    }

    async fn release_until(&self, root: &RunId, fence: Fence, until: (Timestamp, bool), now: Timestamp) {
        self.stores.core.release_tree(root, fence, now).await;
        self.waiting().trees.insert(root.clone(), until);
    }
}

#[async_trait]
impl ClusterStore for SharedCluster {
    fn is_shared(&self) -> bool {
        true
    }

    fn announce_tree(&self) {
        self.announcements.send_modify(|announced| announced.trees += 1);
    }

    fn watch_announcements(&self) -> watch::Receiver<Announcements> {
        self.announcements.subscribe()
    }

    async fn claim_due(
        &self,
        pod: &PodId,
        lease: Duration,
        limit: u32,
        _: &[TenantId],
        now: Timestamp,
    ) -> Result<Vec<DueTree>, StoreError> {
        let records = self.stores.runs.list_unclaimed(None, now, limit.min(100)).await?;
        let attempts = self.attempts.load(Ordering::Relaxed);
        let mut trees = Vec::new();
        for RunRecord { run: root, .. } in records.into_iter().filter(RunRecord::is_root) {
            let Some(was_parked) = self.take_due(&root, now) else { continue };
            if let Some(tree) = self.stores.core.claim_tree(&root, pod, lease, now).await? {
                trees.push(DueTree { root, attempts, was_parked, tree });
            }
        }
        Ok(trees)
    }

    async fn park(
        &self,
        root: &RunId,
        fence: Fence,
        wake_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.messages().iter().any(|message| message.root == *root) {
            return Ok(false);
        }
        let until = wake_at.unwrap_or(Timestamp::from_micros(i64::MAX));
        let fault = self.park_fault.lock().unwrap().take();
        if fault != Some(ParkFault::NotExecuted) {
            self.release_until(root, fence, (until, true), now).await;
        }
        match fault {
            Some(_) => Err(StoreError::Unreachable("the reply was lost".to_owned())),
            None => Ok(true),
        }
    }

    async fn defer(&self, root: &RunId, fence: Fence, due_at: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
        self.release_until(root, fence, (due_at, false), now).await;
        Ok(true)
    }

    async fn send(&self, run: &RunId, id: &str, body: &str, now: Timestamp) -> Result<bool, StoreError> {
        let record = self.stores.runs.get(run).await?.filter(|record| !record.status.is_terminal());
        let Some(RunRecord { root, .. }) = record else { return Ok(false) };
        let mut waiting = self.waiting();
        if let Some((until, _)) = waiting.trees.get_mut(&root) {
            *until = now;
        }
        let (run, id, body, at) = (run.clone(), id.to_owned(), body.to_owned(), now.as_micros());
        if waiting.messages.iter().all(|message| message.id != id) {
            waiting.messages.push(RunMessage { run, id, root, body, at });
        }
        Ok(true)
    }

    async fn has_message(&self, run: &RunId, id: &str) -> Result<bool, StoreError> {
        Ok(self.messages().iter().any(|message| message.run == *run && message.id == id))
    }

    async fn remove_message(&self, run: &RunId, id: &str) -> Result<(), StoreError> {
        self.waiting().messages.retain(|message| message.run != *run || message.id != id);
        Ok(())
    }

    async fn describe(&self, _labels: &[String], _capacity: u32) -> Result<(), StoreError> {
        Ok(())
    }

    async fn live_pods(&self) -> Result<Vec<PodInfo>, StoreError> {
        Ok(Vec::new())
    }

    async fn journal_version(&self) -> Result<u32, StoreError> {
        Ok(self.journal_version.load(Ordering::Relaxed))
    }

    fn watch(&self) -> watch::Receiver<DueWork> {
        self.work.subscribe()
    }

    fn watch_lease(&self) -> LeaseWatch {
        LeaseWatch::unlimited(self.lease.subscribe())
    }
}
