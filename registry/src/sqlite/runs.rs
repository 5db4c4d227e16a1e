//! Runs and their journals in SQLite, as they are read and pruned.

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol as protocol;
use protocol::limits::PAGE_ROWS_MAX;
use protocol::{Reply, RunId, TenantId, Timestamp};

use crate::error::StoreError;
use crate::journal::{Journal, JournalError, JournalRecord, Seq};
use crate::notify::tail;
use crate::runs::decode::{decode_entry, decode_page, decode_record, decode_reply};
use crate::runs::{RunFilter, RunPage, RunRecord, RunStore, TreeCounts};
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::statement_batch::to_int;

use row::select_records;

pub(super) mod cache;
pub(super) mod prune;
pub(super) mod row;

/// The runs and their journals.
#[derive(Clone)]
pub(super) struct SqliteRuns(pub(super) StoreHandle);

#[async_trait]
impl RunStore for SqliteRuns {
    async fn get(&self, run: &RunId) -> Result<Option<RunRecord>, StoreError> {
        let row = self.0.read_row(sqlx::query(select_records!("WHERE run = ?")).bind(run.as_str())).await?;
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
        text.map(|text| decode_reply(run, &text)).transpose()
    }

    async fn list(&self, filter: &RunFilter, before: Option<u64>, limit: u32) -> Result<RunPage, StoreError> {
        let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let tenant = filter.tenant.as_ref().map(|tenant| tenant.as_str());
        let status = filter.status.map(protocol::event::RunStatus::as_str);
        let select = if tenant.is_some() {
            select_records!(
                "WHERE number < ? AND runs.tenant = ? AND (?3 IS NULL OR status = ?3) \
                 AND (?5 IS NULL OR workflow = ?5) ORDER BY number DESC LIMIT ?4"
            )
        } else {
            select_records!(
                "WHERE number < ? AND ?2 IS NULL AND (?3 IS NULL OR status = ?3) \
                 AND (?5 IS NULL OR workflow = ?5) ORDER BY number DESC LIMIT ?4"
            )
        };
        let query = sqlx::query(select)
            .bind(before)
            .bind(tenant)
            .bind(status)
            .bind(i64::from(limit) + 1)
            .bind(filter.workflow.as_ref().map(|workflow| workflow.as_str()));
        let rows = self.0.read_rows(query).await?;
        decode_page(&rows, limit)
    }

    async fn list_tree(&self, root: &RunId) -> Result<Vec<RunRecord>, StoreError> {
        let query = sqlx::query(select_records!("WHERE root = ? AND ended = 0 ORDER BY number")).bind(root.as_str());
        let rows = self.0.read_rows(query).await?;
        rows.iter().map(|row| Ok(decode_record(row)?.1)).collect()
    }

    async fn list_unclaimed(
        &self,
        tenant: Option<&TenantId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RunRecord>, StoreError> {
        let mut unclaimed = Vec::new();
        for numbers in self.0.leases.unclaimed(now).chunks(PAGE_ROWS_MAX as usize) {
            let left = i64::from(limit) - i64::try_from(unclaimed.len()).unwrap_or(i64::MAX);
            if left <= 0 {
                break;
            }
            let rows = sqlx::query(select_records!(
                "WHERE root IN (SELECT run FROM runs WHERE number IN (SELECT value FROM json_each(?1)) \
                 AND status <> 'dead') AND ended = 0 AND (?2 IS NULL OR runs.tenant = ?2) ORDER BY number LIMIT ?3"
            ))
            .bind(serde_json::to_string(numbers)?)
            .bind(tenant.map(TenantId::as_str))
            .bind(left)
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
            for row in &rows {
                unclaimed.push(decode_record(row)?.1);
            }
        }
        Ok(unclaimed)
    }

    async fn count_trees(&self, now: Timestamp, limit: u32) -> Result<TreeCounts, StoreError> {
        let mut waiting = 0_usize;
        for numbers in self.0.leases.unclaimed(now).chunks(PAGE_ROWS_MAX as usize) {
            if waiting >= limit as usize {
                break;
            }
            let count: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM runs WHERE number IN (SELECT value FROM json_each(?1)) AND status <> 'dead'",
            )
            .bind(serde_json::to_string(numbers)?)
            .fetch_one(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
            waiting = waiting.saturating_add(usize::try_from(count).unwrap_or_default());
        }
        Ok(TreeCounts::bounded(waiting, self.0.leases.owned(now), limit))
    }
}

#[async_trait]
impl Journal for SqliteRuns {
    async fn read(&self, run: &RunId, after: Seq, limit: u32) -> Result<Vec<JournalRecord>, JournalError> {
        let query = sqlx::query(
            "SELECT seq, at, entry FROM journal WHERE run = (SELECT number FROM runs WHERE run = ?) AND seq > ? \
             ORDER BY seq LIMIT ?",
        )
        .bind(run.as_str())
        .bind(to_int(after.0))
        .bind(i64::from(limit));
        let rows = self.0.read_rows(query).await?;
        Ok(rows.iter().map(decode_entry).collect::<Result<_, _>>()?)
    }

    fn tail(&self, run: &RunId, after: Seq) -> BoxStream<'static, Result<JournalRecord, JournalError>> {
        tail(self.clone(), run, self.0.journal_notifiers.subscribe(run), after)
    }
}
