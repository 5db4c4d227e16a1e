//! Stores that fail one kind of read at the will of a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{PodId, Reply, RunId, TenantId, Timestamp};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::journal::{AppendPosition, Journal, JournalError, JournalRecord, PendingAppend, Receipt, Seq};
use greenroom_registry::ledger::{
    Amount, CostRow, Ledger, Periods, RequestKind, Reservation, ReserveError, ReserveRequest, Settlement, UsageKey,
    UsageSummary,
};
use greenroom_registry::runs::{
    ClaimedTree, Created, DedupKey, Fence, NewRun, RunFilter, RunPage, RunRecord, RunStore,
};
use greenroom_registry::{StoreError, Stores};

/// The read that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Usage,
    RunRecord,
    Journal,
}

/// Selects the read that fails.
#[derive(Debug, Default)]
pub(super) struct FaultSwitch(AtomicU8);

impl FaultSwitch {
    pub(super) fn set(&self, fault: Fault) {
        self.0.store(fault as u8, Ordering::SeqCst);
    }

    fn check(&self, fault: Fault) -> Result<(), StoreError> {
        if self.0.load(Ordering::SeqCst) == fault as u8 { Err(StoreError::Locked) } else { Ok(()) }
    }

    pub(super) fn wrap(self: &Arc<Self>, stores: Stores) -> Stores {
        Stores {
            runs: Arc::new(FaultyRuns { inner: stores.runs, faults: Arc::clone(self) }),
            journal: Arc::new(FaultyJournal { inner: stores.journal, faults: Arc::clone(self) }),
            ledger: Arc::new(FaultyLedger { inner: stores.ledger, faults: Arc::clone(self) }),
            ..stores
        }
    }
}

struct FaultyLedger {
    inner: Arc<dyn Ledger>,
    faults: Arc<FaultSwitch>,
}

#[async_trait]
impl Ledger for FaultyLedger {
    async fn count(
        &self,
        key: &UsageKey,
        kind: RequestKind,
        periods: Periods,
        now: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        self.faults.check(Fault::Usage)?;
        self.inner.count(key, kind, periods, now).await
    }

    async fn usage(&self, key: &UsageKey, periods: Periods, now: Timestamp) -> Result<UsageSummary, StoreError> {
        self.faults.check(Fault::Usage)?;
        self.inner.usage(key, periods, now).await
    }

    async fn reserve(
        &self,
        request: ReserveRequest,
        wait_max: Duration,
        now: Timestamp,
    ) -> Result<Reservation, ReserveError> {
        self.inner.reserve(request, wait_max, now).await
    }

    async fn settle(
        &self,
        reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Amount, StoreError> {
        self.inner.settle(reservation, settlement, now).await
    }

    async fn costs(&self, since: Option<Timestamp>) -> Result<Vec<CostRow>, StoreError> {
        self.inner.costs(since).await
    }
}

struct FaultyRuns {
    inner: Arc<dyn RunStore>,
    faults: Arc<FaultSwitch>,
}

#[async_trait]
impl RunStore for FaultyRuns {
    async fn create_with_entries(
        &self,
        run: &NewRun,
        key: Option<&DedupKey>,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<(Created, Option<Receipt>), JournalError> {
        self.inner.create_with_entries(run, key, entries, now).await
    }

    async fn claim(
        &self,
        root: &RunId,
        pod: &PodId,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Option<ClaimedTree>, StoreError> {
        self.inner.claim(root, pod, lease, now).await
    }

    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.inner.renew(root, fence, lease, now).await
    }

    async fn release(&self, root: &RunId, fence: Fence) {
        self.inner.release(root, fence).await;
    }

    async fn fail(&self, root: &RunId, fence: Fence) -> Result<(), StoreError> {
        self.inner.fail(root, fence).await
    }

    async fn list_tree(&self, root: &RunId) -> Result<Vec<RunRecord>, StoreError> {
        self.inner.list_tree(root).await
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunRecord>, StoreError> {
        self.faults.check(Fault::RunRecord)?;
        self.inner.get(run).await
    }

    async fn reply(&self, run: &RunId) -> Result<Option<Reply>, StoreError> {
        self.inner.reply(run).await
    }

    async fn list(&self, filter: &RunFilter, before: Option<u64>, limit: u32) -> Result<RunPage, StoreError> {
        self.inner.list(filter, before, limit).await
    }

    async fn list_unclaimed(
        &self,
        tenant: Option<&TenantId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RunRecord>, StoreError> {
        self.inner.list_unclaimed(tenant, now, limit).await
    }

    async fn prune(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        self.inner.prune(tenant, before).await
    }
}

struct FaultyJournal {
    inner: Arc<dyn Journal>,
    faults: Arc<FaultSwitch>,
}

#[async_trait]
impl Journal for FaultyJournal {
    async fn submit(
        &self,
        position: AppendPosition<'_>,
        entries: &[Entry],
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAppend, JournalError> {
        self.inner.submit(position, entries, timing, now).await
    }

    async fn read(&self, run: &RunId, after: Seq, limit: u32) -> Result<Vec<JournalRecord>, JournalError> {
        self.faults.check(Fault::Journal)?;
        self.inner.read(run, after, limit).await
    }

    fn tail(&self, run: &RunId, after: Seq) -> BoxStream<'static, Result<JournalRecord, JournalError>> {
        self.inner.tail(run, after)
    }
}
