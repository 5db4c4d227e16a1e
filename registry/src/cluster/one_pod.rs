//! The cluster of a store that one process owns: it has one pod, whose lease never ends, and no tree, message or death to
//! find. Its runs are recovered by [`crate::runs::RunStore::list_unclaimed`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{Clock, PodId, RunId, TenantId, Timestamp};
use tokio::sync::watch;

use super::{ClusterStore, DueTree, DueWork, LeaseWatch, PodInfo, PodLease};
use crate::error::StoreError;
use crate::runs::Fence;

struct OnePod {
    /// Nothing is ever sent; the receivers wait as long as the store lives.
    work: watch::Sender<DueWork>,
    lease: watch::Sender<PodLease>,
    /// Measures the lease, if that is not unlimited.
    clock: Option<Arc<dyn Clock>>,
}

/// The cluster of a store that one process owns.
#[must_use]
pub fn one_pod() -> Arc<dyn ClusterStore> {
    let (work, lease) = (watch::Sender::new(DueWork::default()), watch::Sender::new(PodLease::Unlimited));
    Arc::new(OnePod { work, lease, clock: None })
}

/// The same with a lease that a test sets.
#[cfg(feature = "testing")]
#[must_use]
pub fn one_pod_with_lease(lease: watch::Sender<PodLease>, clock: Arc<dyn Clock>) -> Arc<dyn ClusterStore> {
    Arc::new(OnePod { work: watch::Sender::new(DueWork::default()), lease, clock: Some(clock) })
}

#[async_trait]
impl ClusterStore for OnePod {
    fn is_shared(&self) -> bool {
        false
    }

    async fn claim_due(
        &self,
        _pod: &PodId,
        _lease: Duration,
        _limit: u32,
        _full_tenants: &[TenantId],
        _now: Timestamp,
    ) -> Result<Vec<DueTree>, StoreError> {
        Ok(Vec::new())
    }

    async fn park(
        &self,
        _root: &RunId,
        _fence: Fence,
        _wake_at: Option<Timestamp>,
        _now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn defer(
        &self,
        _root: &RunId,
        _fence: Fence,
        _due_at: Timestamp,
        _now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn send(&self, _run: &RunId, _id: &str, _body: &str, _now: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn has_message(&self, _run: &RunId, _id: &str) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn remove_message(&self, _run: &RunId, _id: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn describe(&self, _labels: &[String], _capacity: u32) -> Result<(), StoreError> {
        Ok(())
    }

    async fn live_pods(&self) -> Result<Vec<PodInfo>, StoreError> {
        Ok(Vec::new())
    }

    fn watch(&self) -> watch::Receiver<DueWork> {
        self.work.subscribe()
    }

    fn watch_lease(&self) -> LeaseWatch {
        let lease = self.lease.subscribe();
        match &self.clock {
            Some(clock) => LeaseWatch::new(lease, Arc::clone(clock)),
            None => LeaseWatch::unlimited(lease),
        }
    }
}
