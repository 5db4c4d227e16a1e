//! What the pods of one database share: claims of due trees, parked trees, messages for runs of other pods.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{PodId, RunId, Timestamp};
use serde::Deserialize;
use tokio::sync::watch;

use crate::cluster::{ClusterStore, DueTree, DueWork};
use crate::columns::{Columns as _, to_int};
use crate::error::StoreError;
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
    /// The reply to a claim was lost, so this pod may own trees that it does not know of.
    has_lost_claim: AtomicBool,
}

#[derive(Deserialize)]
struct ClaimedRow {
    root: RunId,
    number: u64,
    fence: u64,
    failures: u32,
    attempts: u32,
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
    pub(super) const fn new(store: StoreHandle) -> Self {
        Self { store, has_lost_claim: AtomicBool::new(false) }
    }

    /// Claims trees in the database.
    async fn claim(&self, pod: &PodId, limit: u32, now: Timestamp) -> Result<Vec<ClaimedRow>, StoreError> {
        let report: String = sqlx::query_scalar("SELECT greenroom_claim_v1($1, $2, $3, $4, $5)")
            .bind(self.store.pod.id)
            .bind(pod.as_str())
            .bind(now.as_micros())
            .bind(JOURNAL_VERSION)
            .bind(i32::try_from(limit).unwrap_or(i32::MAX))
            .fetch_one(&self.store.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let report: ClaimReport = serde_json::from_str(&report)?;
        if report.state == "dead" { Err(StoreError::PodDead) } else { Ok(report.claimed) }
    }

    /// The trees that this pod owns in the database and has no lease of.
    async fn lost_claims(&self) -> Result<Vec<ClaimedRow>, StoreError> {
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
                // It has written nothing, because it does not know of the tree.
                since: row.optional_int("active_since")?,
                until: row.optional_int("active_until")?,
            })
        };
        let owned = rows.iter().map(decode).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(owned.into_iter().filter(|row| !self.store.leases.is_known(&row.root, Fence(row.fence))).collect())
    }

    async fn due_tree(&self, row: ClaimedRow, lease: Duration, now: Timestamp) -> Result<DueTree, StoreError> {
        let ClaimedRow { root, number, fence, failures, attempts, since, until } = row;
        let runs = select_open_runs(&self.store.readers, &root).await?;
        runs.iter().for_each(|record| self.store.add_root(&record.run, &root));
        let (fence, last_activity) = (Fence(fence), activity(since, until));
        let granted = NewLease { root: &root, number, fence, duration: lease, granted_at: now };
        self.store.leases.grant_claimed(granted, runs.len(), last_activity);
        Ok(DueTree { root, attempts, tree: ClaimedTree { fence, failures, runs, last_activity } })
    }
}

#[async_trait]
impl ClusterStore for PostgresCluster {
    async fn claim_due(
        &self,
        pod: &PodId,
        lease: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<DueTree>, StoreError> {
        self.store.check_open()?;
        let mut rows = Vec::new();
        if self.has_lost_claim.load(Ordering::Acquire) {
            rows = self.lost_claims().await?;
            self.has_lost_claim.store(false, Ordering::Release);
        }
        let claimed = self.claim(pod, limit.min(CLAIMED_TREES_MAX), now).await;
        rows.extend(claimed.inspect_err(|_| self.has_lost_claim.store(true, Ordering::Release))?);
        let mut trees = Vec::with_capacity(rows.len());
        for row in rows {
            let tree = self.due_tree(row, lease, now).await;
            trees.push(tree.inspect_err(|_| self.has_lost_claim.store(true, Ordering::Release))?);
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
        self.store.check_open()?;
        let is_parked: bool = sqlx::query_scalar("SELECT greenroom_park_v1($1, $2, $3, $4, $5)")
            .bind(self.store.pod.id)
            .bind(root.as_str())
            .bind(to_int(fence.0))
            .bind(wake_at.map_or(i64::MAX, Timestamp::as_micros))
            .bind(now.as_micros())
            .fetch_one(&self.store.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        if is_parked {
            self.store.leases.forget_released(root, fence);
        }
        Ok(is_parked)
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
}
