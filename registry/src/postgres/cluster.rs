//! What the pods of one database share: claims of due trees, parked trees, messages for runs of other pods.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{PodId, RunId, TenantId, Timestamp};
use serde::Deserialize;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::cluster::{Announcements, ClusterStore, DueTree, DueWork, JOURNAL_VERSION, LeaseWatch, PodInfo};
use crate::columns::{Columns as _, to_int};
use crate::core::CoreStore;
use crate::error::StoreError;
use crate::postgres::core::PostgresCore;
use crate::postgres::error::{sqlx_error, write_error};
use crate::postgres::handle::StoreHandle;
use crate::postgres::pod_list;
use crate::postgres::runs::row::{activity, select_open_runs};
use crate::postgres::transaction::{begin, commit};
use crate::runs::leases::{NewLease, RunNumber};
use crate::runs::{ClaimedTree, Fence};

/// How long after a claim whose reply was lost its trees are looked for: the server may execute it later.
const LOST_CLAIM_SEARCH: Duration = Duration::from_secs(60);
/// Trees of one claim.
const CLAIMED_TREES_MAX: u32 = 100;

/// The part that pods share.
pub(super) struct PostgresCluster {
    store: StoreHandle,
    /// Locked by one claim at a time, until it has the leases of its trees.
    claiming: Mutex<()>,
}

#[derive(Deserialize)]
struct ClaimedRow {
    root: RunId,
    number: u64,
    fence: u64,
    failures: u32,
    attempts: u32,
    parked: bool,
    since: Option<i64>,
    until: Option<i64>,
}

/// A tree that this pod owns.
struct OwnedRow {
    root: RunId,
    number: RunNumber,
    attempts: u32,
}

#[derive(Deserialize)]
struct ClaimReport {
    state: String,
    #[serde(default)]
    claimed: Vec<ClaimedRow>,
}

impl PostgresCluster {
    pub(super) fn new(store: StoreHandle) -> Self {
        Self { store, claiming: Mutex::default() }
    }

    /// Claims trees in the database.
    async fn claim(
        &self,
        pod: &PodId,
        limit: u32,
        full_tenants: &[TenantId],
        now: Timestamp,
    ) -> Result<Vec<ClaimedRow>, StoreError> {
        let full_tenants: Vec<&str> = full_tenants.iter().map(TenantId::as_str).collect();
        let report: String = sqlx::query_scalar("SELECT greenroom_claim_v1($1, $2, $3, $4, $5, $6)")
            .bind(self.store.pod.id)
            .bind(pod.as_str())
            .bind(now.as_micros())
            .bind(pod_list::to_column(JOURNAL_VERSION))
            .bind(i32::try_from(limit).unwrap_or(i32::MAX))
            .bind(full_tenants.as_slice())
            .fetch_one(&self.store.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let report: ClaimReport = serde_json::from_str(&report)?;
        if report.state == "dead" { Err(StoreError::PodDead) } else { Ok(report.claimed) }
    }

    /// Claims the trees again that this pod owns in the database and that have no lease here: they have no active actor.
    /// That is done by units, which follow those of the same tree, and which raise the fence: what was sent for the tree
    /// before, and may still be on its way, changes nothing any more. True if trees may be left that are to be found.
    async fn claim_own(
        &self,
        pod: &PodId,
        lease: Duration,
        limit: u32,
        has_lost_claim: bool,
        now: Timestamp,
    ) -> Result<(Vec<DueTree>, bool), StoreError> {
        let leases = &self.store.leases;
        let unclaimed: BTreeSet<RunNumber> = leases.unclaimed(now).into_iter().collect();
        if unclaimed.is_empty() && !has_lost_claim {
            return Ok((Vec::new(), false));
        }
        let numbers = (!has_lost_claim).then(|| unclaimed.iter().copied().map(to_int).collect());
        let mut owned = self.owned(numbers).await?;
        let found: BTreeSet<RunNumber> = owned.iter().map(|row| row.number).collect();
        let unowned = &unclaimed - &found;
        leases.forget_unowned(&unowned);
        owned.retain(|row| !leases.is_leased(&row.root, now));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // One that was forgotten may have been claimed by a unit meanwhile.
        let may_be_left = has_lost_claim && owned.len() > limit || !unowned.is_empty();
        let core: &dyn CoreStore = &PostgresCore(self.store.clone());
        let mut trees = Vec::new();
        for OwnedRow { root, attempts, .. } in owned.into_iter().take(limit) {
            if let Some(tree) = core.claim_tree(&root, pod, lease, now).await? {
                trees.push(DueTree { root, attempts, was_parked: false, tree });
            }
        }
        Ok((trees, may_be_left))
    }

    /// The trees that this pod owns in the database, all or those of these numbers, the oldest first.
    async fn owned(&self, numbers: Option<Vec<i64>>) -> Result<Vec<OwnedRow>, StoreError> {
        let rows = sqlx::query("SELECT root, number, attempts FROM greenroom_owned_v1($1, $2)")
            .bind(self.store.pod.id)
            .bind(numbers)
            .fetch_all(&self.store.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let decode = |row: &sqlx::postgres::PgRow| {
            let attempts = u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX);
            Ok(OwnedRow { root: row.id("root")?, number: row.number("number")?, attempts })
        };
        rows.iter().map(decode).collect()
    }

    async fn due_tree(&self, row: ClaimedRow, lease: Duration, now: Timestamp) -> Result<DueTree, StoreError> {
        let ClaimedRow { root, number, fence, failures, attempts, parked: was_parked, since, until } = row;
        let runs = select_open_runs(&self.store.readers, &root).await?;
        runs.iter().for_each(|record| self.store.add_root(&record.run, &root));
        let (fence, last_activity) = (Fence(fence), activity(since, until));
        let granted = NewLease { root: &root, number, fence, duration: lease, granted_at: now };
        self.store.leases.grant_claimed(granted, runs.len(), last_activity);
        Ok(DueTree { root, attempts, was_parked, tree: ClaimedTree { fence, failures, runs, last_activity } })
    }

    /// Ends the ownership of a tree until a time; also until a message comes, if it is parked. False if it has another
    /// owner, or is to be parked and has a message.
    async fn release_until(
        &self,
        root: &RunId,
        fence: Fence,
        (due_at, is_parked): (i64, bool),
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.store.check_open()?;
        let released: Result<bool, sqlx::Error> =
            sqlx::query_scalar("SELECT greenroom_park_v1($1, $2, $3, $4, $5, $6)")
                .bind(self.store.pod.id)
                .bind(root.as_str())
                .bind(to_int(fence.0))
                .bind(due_at)
                .bind(is_parked)
                .bind(now.as_micros())
                .fetch_one(&self.store.readers)
                .await;
        match &released {
            Ok(true) => self.store.leases.forget_released(root, fence),
            Ok(false) => {}
            // If it still owns the tree, it claims it again.
            Err(_) => self.store.leases.release(root, fence, now),
        }
        released.map_err(|error| sqlx_error(&error))
    }
}

#[async_trait]
impl ClusterStore for PostgresCluster {
    fn is_shared(&self) -> bool {
        true
    }

    async fn claim_due(
        &self,
        pod: &PodId,
        lease: Duration,
        limit: u32,
        full_tenants: &[TenantId],
        now: Timestamp,
    ) -> Result<Vec<DueTree>, StoreError> {
        self.store.check_open()?;
        let _claiming = self.claiming.lock().await;
        let limit = limit.min(CLAIMED_TREES_MAX);
        let lost_until = self.store.lost_claim_until();
        let (mut trees, may_be_left) = self.claim_own(pod, lease, limit, lost_until.is_some(), now).await?;
        let limit = limit.saturating_sub(u32::try_from(trees.len()).unwrap_or(u32::MAX));
        // Until each of them has its lease here; it remains so if this fails, or is dropped.
        let search_until = Some(Instant::now() + LOST_CLAIM_SEARCH);
        self.store.set_lost_claim_until(search_until);
        for row in self.claim(pod, limit, full_tenants, now).await? {
            trees.push(self.due_tree(row, lease, now).await?);
        }
        self.store.set_lost_claim_until(if may_be_left { search_until } else { lost_until });
        Ok(trees)
    }

    async fn park(
        &self,
        root: &RunId,
        fence: Fence,
        wake_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let due_at = wake_at.map_or(i64::MAX, Timestamp::as_micros);
        self.release_until(root, fence, (due_at, true), now).await
    }

    async fn defer(&self, root: &RunId, fence: Fence, due_at: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
        self.release_until(root, fence, (due_at.as_micros(), false), now).await
    }

    async fn send(&self, run: &RunId, id: &str, body: &str, now: Timestamp) -> Result<bool, StoreError> {
        self.store.check_open()?;
        let is_sent: bool = sqlx::query_scalar("SELECT greenroom_send_v1($1, $2, $3, $4, $5)")
            .bind(self.store.pod.id)
            .bind(run.as_str())
            .bind(id)
            .bind(body)
            .bind(now.as_micros())
            .fetch_one(&self.store.readers)
            .await
            .map_err(|error| write_error(&error))?;
        if is_sent {
            self.store.announcements.send_modify(|announced| announced.messages += 1);
        }
        Ok(is_sent)
    }

    async fn has_message(&self, run: &RunId, id: &str) -> Result<bool, StoreError> {
        self.store.check_open()?;
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM inbox WHERE run = $1 AND id = $2)")
            .bind(run.as_str())
            .bind(id)
            .fetch_one(&self.store.readers)
            .await
            .map_err(|error| sqlx_error(&error))
    }

    async fn remove_message(&self, run: &RunId, id: &str) -> Result<(), StoreError> {
        let mut transaction = begin(&self.store).await?;
        sqlx::query("DELETE FROM inbox WHERE run = $1 AND id = $2")
            .bind(run.as_str())
            .bind(id)
            .execute(&mut *transaction)
            .await
            .map_err(|error| sqlx_error(&error))?;
        commit(transaction).await
    }

    fn nudge(&self) {
        self.store.nudged.notify_one();
    }

    fn announce_tree(&self) {
        self.store.announcements.send_modify(|announced| announced.trees += 1);
    }

    fn watch_announcements(&self) -> watch::Receiver<Announcements> {
        self.store.announcements.subscribe()
    }

    async fn describe(&self, labels: &[String], capacity: u32) -> Result<(), StoreError> {
        pod_list::describe(&self.store.readers, self.store.pod.id, labels, capacity).await
    }

    async fn live_pods(&self) -> Result<Vec<PodInfo>, StoreError> {
        pod_list::live(&self.store.readers).await
    }

    async fn journal_version(&self) -> Result<u32, StoreError> {
        pod_list::journal_version(&self.store.readers).await
    }

    fn watch(&self) -> watch::Receiver<DueWork> {
        self.store.due_work.subscribe()
    }

    fn watch_lease(&self) -> LeaseWatch {
        self.store.watch_lease()
    }
}
