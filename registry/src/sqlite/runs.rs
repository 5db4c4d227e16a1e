//! Runs and their journals in SQLite: readers serve reads, the writer serves writes.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::FutureExt;
use futures::stream::BoxStream;
use greenroom_protocol as protocol;
use protocol::journal::Entry;
use protocol::limits::PAGE_ROWS_MAX;
use protocol::{PodId, Reply, RunId, TenantId, Timestamp};

use crate::error::StoreError;
use crate::group_commit::CommitTiming;
use crate::journal::{AppendPosition, Journal, JournalError, JournalRecord, PendingAppend, Receipt, Seq};
use crate::notify::{TailSource, tail};
use crate::runs::record::StatusChange;
use crate::runs::{ClaimedTree, Created, DedupKey, Fence, NewRun, RunFilter, RunPage, RunRecord, RunStore};
use crate::sqlite::columns::Columns as _;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::statement_batch::{from_int, to_int};

use commands::{AppendEntries, ClaimTree, CreateRun, EncodedEntries, FailTree, PruneRuns, where_pruned};
use row::{decode_record, select_records};

pub(super) mod cache;
mod commands;
mod row;

/// Entries that a tail reads at once.
const TAIL_ENTRIES: u32 = 256;

/// The runs and their journals.
#[derive(Clone)]
pub(super) struct SqliteRuns(pub(super) StoreHandle);

#[async_trait]
impl RunStore for SqliteRuns {
    async fn create_with_entries(
        &self,
        run: &NewRun,
        key: Option<&DedupKey>,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<(Created, Option<Receipt>), JournalError> {
        let (new, key, entries) = (run.clone(), key.map(DedupKey::to_stored), EncodedEntries::from_entries(entries)?);
        StatusChange::check_entries(&entries.changes)?;
        self.0.queue.execute(CreateRun { new, key, entries, now }).await
    }

    async fn claim(
        &self,
        root: &RunId,
        pod: &PodId,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Option<ClaimedTree>, StoreError> {
        let (root, pod) = (root.clone(), pod.clone());
        self.0.queue.execute(ClaimTree { root, pod, lease, now }).await
    }

    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.0.leases.renew(root, fence, Some(lease), now)
    }

    async fn release(&self, root: &RunId, fence: Fence) {
        self.0.leases.release(root, fence);
    }

    async fn fail(&self, root: &RunId, fence: Fence) -> Result<(), StoreError> {
        self.0.queue.execute(FailTree { root: root.clone(), fence }).await
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunRecord>, StoreError> {
        let row = sqlx::query(select_records!("WHERE run = ?"))
            .bind(run.as_str())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        Ok(row.as_ref().map(decode_record).transpose()?.map(|(_, record)| record))
    }

    async fn reply(&self, run: &RunId) -> Result<Option<Reply>, StoreError> {
        let text: Option<String> = sqlx::query_scalar(
            "SELECT entry FROM journal WHERE run = (SELECT number FROM runs WHERE run = ? AND ended = 1) \
             ORDER BY seq DESC LIMIT 1",
        )
        .bind(run.as_str())
        .fetch_optional(&self.0.readers)
        .await
        .map_err(|error| sqlx_error(&error))?;
        let Some(text) = text else { return Ok(None) };
        match serde_json::from_str(&text)? {
            Entry::RunEnded { reply } => Ok(Some(*reply)),
            _ => Err(StoreError::Codec(format!("the run {run} has ended, but its journal has no end"))),
        }
    }

    async fn list(&self, filter: &RunFilter, before: Option<u64>, limit: u32) -> Result<RunPage, StoreError> {
        let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let tenant = filter.tenant.as_ref().map(|tenant| tenant.as_str());
        let status = filter.status.map(protocol::event::RunStatus::as_str);
        let select = if tenant.is_some() {
            select_records!(
                "WHERE number < ? AND tenant = ? AND (?3 IS NULL OR status = ?3) \
                 AND (?5 IS NULL OR workflow = ?5) ORDER BY number DESC LIMIT ?4"
            )
        } else {
            select_records!(
                "WHERE number < ? AND ?2 IS NULL AND (?3 IS NULL OR status = ?3) \
                 AND (?5 IS NULL OR workflow = ?5) ORDER BY number DESC LIMIT ?4"
            )
        };
        let rows = sqlx::query(select)
            .bind(before)
            .bind(tenant)
            .bind(status)
            .bind(i64::from(limit) + 1)
            .bind(filter.workflow.as_ref().map(|workflow| workflow.as_str()))
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let mut records = rows.iter().map(decode_record).collect::<Result<Vec<_>, _>>()?;
        let is_more = records.len() > limit as usize;
        records.truncate(limit as usize);
        let next = records.last().filter(|_| is_more).and_then(|(number, _)| u64::try_from(*number).ok());
        Ok(RunPage { runs: records.into_iter().map(|(_, record)| record).collect(), next })
    }

    async fn list_tree(&self, root: &RunId) -> Result<Vec<RunRecord>, StoreError> {
        let rows = sqlx::query(select_records!("WHERE root = ? AND ended = 0 ORDER BY number"))
            .bind(root.as_str())
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        rows.iter().map(|row| Ok(decode_record(row)?.1)).collect()
    }

    async fn list_unclaimed(
        &self,
        tenant: Option<&TenantId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RunRecord>, StoreError> {
        let mut unclaimed = Vec::new();
        let mut after = 0_i64;
        loop {
            let rows = sqlx::query(select_records!("WHERE ended = 0 AND number > ? ORDER BY number LIMIT ?"))
                .bind(after)
                .bind(i64::from(PAGE_ROWS_MAX))
                .fetch_all(&self.0.readers)
                .await
                .map_err(|error| sqlx_error(&error))?;
            let is_last = rows.len() < PAGE_ROWS_MAX as usize;
            for row in &rows {
                let (number, record) = decode_record(row)?;
                after = number;
                let is_of_tenant = tenant.is_none_or(|tenant| record.tenant == *tenant);
                if is_of_tenant && !self.0.leases.is_leased(&record.root, now) {
                    unclaimed.push(record);
                }
                if unclaimed.len() >= limit as usize {
                    return Ok(unclaimed);
                }
            }
            if is_last {
                return Ok(unclaimed);
            }
        }
    }

    async fn prune(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        // Counted before the deletion: an ended run never becomes active again, so the number is exact.
        let sql = concat!("SELECT COUNT(*) FROM runs ", where_pruned!());
        let count: i64 = sqlx::query_scalar(sql)
            .bind(before.as_micros())
            .bind(tenant.map(TenantId::as_str))
            .fetch_one(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        self.0.queue.execute(PruneRuns { tenant: tenant.cloned(), before }).await?;
        Ok(from_int(count))
    }
}

#[async_trait]
impl Journal for SqliteRuns {
    async fn submit(
        &self,
        position: AppendPosition<'_>,
        entries: &[Entry],
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAppend, JournalError> {
        let AppendPosition { run, fence, after } = position;
        let (run, entries) = (run.clone(), EncodedEntries::from_entries(entries)?);
        let append = AppendEntries { run, fence, after, entries, timing, now };
        Ok(PendingAppend::submitted(self.0.queue.submit(append).await?))
    }

    async fn read(&self, run: &RunId, after: Seq, limit: u32) -> Result<Vec<JournalRecord>, JournalError> {
        let rows = sqlx::query(
            "SELECT seq, at, entry FROM journal WHERE run = (SELECT number FROM runs WHERE run = ?) AND seq > ? \
             ORDER BY seq LIMIT ?",
        )
        .bind(run.as_str())
        .bind(to_int(after.0))
        .bind(i64::from(limit))
        .fetch_all(&self.0.readers)
        .await
        .map_err(|error| sqlx_error(&error))?;
        let decode = |row: &sqlx::sqlite::SqliteRow| -> Result<JournalRecord, StoreError> {
            let entry = serde_json::from_str(row.text("entry")?)?;
            Ok(JournalRecord { seq: Seq(row.number("seq")?), at: row.timestamp("at")?, entry })
        };
        Ok(rows.iter().map(decode).collect::<Result<_, _>>()?)
    }

    fn tail(&self, run: &RunId, after: Seq) -> BoxStream<'static, Result<JournalRecord, JournalError>> {
        let (store, run_id) = (self.clone(), run.clone());
        tail(TailSource {
            notify: self.0.journal_notifiers.subscribe(run),
            after: after.0,
            read: Box::new(move |after| {
                let (store, run_id) = (store.clone(), run_id.clone());
                async move { store.read(&run_id, Seq(after), TAIL_ENTRIES).await }.boxed()
            }),
            position: |item: &JournalRecord| item.seq.0,
            is_last: |item: &JournalRecord| matches!(item.entry, Entry::RunEnded { .. }),
        })
    }
}
