//! What the pods of one database share: claims of due trees, parked trees, messages for runs of other pods.

use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{PodId, RunId, TenantId, Timestamp};
use serde::Deserialize;
use tokio::sync::{Mutex, watch};

use crate::cluster::{ClusterStore, DueTree, DueWork, PodLease};
use crate::columns::{Columns as _, to_int};
use crate::core::CoreStore;
use crate::error::StoreError;
use crate::postgres::core::PostgresCore;
use crate::postgres::error::{sqlx_error, write_error};
use crate::postgres::handle::StoreHandle;
use crate::postgres::runs::row::{activity, select_open_runs};
use crate::postgres::transaction::{begin, commit};
use crate::runs::leases::NewLease;
use crate::runs::{ClaimedTree, Fence};

/// The version of the journals that this release reads.
pub(super) const JOURNAL_VERSION: i32 = 1;
/// Trees of one claim.
const CLAIMED_TREES_MAX: u32 = 100;

/// The part that pods share.
pub(super) struct PostgresCluster {
    store: StoreHandle,
    /// True if the reply to a claim was lost, so this pod may own trees that it does not know of. Locked by one claim at a
    /// time, until it has the leases of its trees.
    has_lost_claim: Mutex<bool>,
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

#[derive(Deserialize)]
struct ClaimReport {
    state: String,
    #[serde(default)]
    claimed: Vec<ClaimedRow>,
}

impl PostgresCluster {
    pub(super) fn new(store: StoreHandle) -> Self {
        Self { store, has_lost_claim: Mutex::new(false) }
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
            .bind(JOURNAL_VERSION)
            .bind(i32::try_from(limit).unwrap_or(i32::MAX))
            .bind(full_tenants.as_slice())
            .fetch_one(&self.store.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let report: ClaimReport = serde_json::from_str(&report)?;
        if report.state == "dead" { Err(StoreError::PodDead) } else { Ok(report.claimed) }
    }

    /// Claims the trees of this pod again whose leases are over: they have no active actor.
    async fn claim_own(
        &self,
        pod: &PodId,
        lease: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<DueTree>, StoreError> {
        let numbers: Vec<i64> = self.store.leases.unclaimed(now).into_iter().map(to_int).collect();
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "SELECT root FROM trees WHERE holder = $1 AND open_runs > 0 AND number = ANY ($2) \
                   ORDER BY number LIMIT $3";
        let rows = sqlx::query(sql)
            .bind(self.store.pod.id)
            .bind(numbers)
            .bind(i64::from(limit))
            .fetch_all(&self.store.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let roots = rows.iter().map(|row| row.id("root")).collect::<Result<Vec<RunId>, StoreError>>()?;
        let core: &dyn CoreStore = &PostgresCore(self.store.clone());
        let mut trees = Vec::with_capacity(roots.len());
        for root in roots {
            if let Some(tree) = core.claim_tree(&root, pod, lease, now).await? {
                trees.push(DueTree { root, attempts: 0, was_parked: false, tree });
            }
        }
        Ok(trees)
    }

    /// The trees that this pod owns in the database and has no lease of.
    async fn lost_claims(&self) -> Result<Vec<ClaimedRow>, StoreError> {
        // A claim whose reply was lost may still be executed. It locks the row of the pod, so this waits for its end.
        sqlx::query("SELECT 1 FROM pods WHERE id = $1 FOR UPDATE")
            .bind(self.store.pod.id)
            .execute(&self.store.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let sql = "SELECT root, number, fence, failures::bigint AS failures, attempts::bigint AS attempts, active_since, \
                   active_until FROM trees WHERE holder = $1 AND open_runs > 0 ORDER BY number";
        let rows = sqlx::query(sql)
            .bind(self.store.pod.id)
            .fetch_all(&self.store.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let decode = |row: &sqlx::postgres::PgRow| {
            Ok(ClaimedRow {
                root: row.id("root")?,
                number: row.number("number")?,
                fence: row.number("fence")?,
                failures: u32::try_from(row.int("failures")?).unwrap_or(u32::MAX),
                attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
                parked: false,
                // It has written nothing, because it does not know of the tree.
                since: row.optional_int("active_since")?,
                until: row.optional_int("active_until")?,
            })
        };
        let owned = rows.iter().map(decode).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(owned.into_iter().filter(|row| !self.store.leases.is_known(&row.root, Fence(row.fence))).collect())
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
        let is_released: bool = sqlx::query_scalar("SELECT greenroom_park_v1($1, $2, $3, $4, $5, $6)")
            .bind(self.store.pod.id)
            .bind(root.as_str())
            .bind(to_int(fence.0))
            .bind(due_at)
            .bind(is_parked)
            .bind(now.as_micros())
            .fetch_one(&self.store.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        if is_released {
            self.store.leases.forget_released(root, fence);
        }
        Ok(is_released)
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
        let mut has_lost_claim = self.has_lost_claim.lock().await;
        let limit = limit.min(CLAIMED_TREES_MAX);
        let mut trees = self.claim_own(pod, lease, limit, now).await?;
        let limit = limit.saturating_sub(u32::try_from(trees.len()).unwrap_or(u32::MAX));
        let mut rows = if *has_lost_claim { self.lost_claims().await? } else { Vec::new() };
        // Until each of them has its lease here; it remains so if this fails, or is dropped.
        *has_lost_claim = true;
        rows.extend(self.claim(pod, limit, full_tenants, now).await?);
        for row in rows {
            trees.push(self.due_tree(row, lease, now).await?);
        }
        *has_lost_claim = false;
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
        sqlx::query_scalar("SELECT greenroom_send_v1($1, $2, $3, $4, $5)")
            .bind(self.store.pod.id)
            .bind(run.as_str())
            .bind(id)
            .bind(body)
            .bind(now.as_micros())
            .fetch_one(&self.store.readers)
            .await
            .map_err(|error| write_error(&error))
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

    fn watch(&self) -> watch::Receiver<DueWork> {
        self.store.due_work.subscribe()
    }

    fn watch_lease(&self) -> watch::Receiver<PodLease> {
        self.store.lease.subscribe()
    }
}
