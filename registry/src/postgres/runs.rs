//! Runs and their journals in PostgreSQL, as they are read and pruned.

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol as protocol;
use protocol::{Reply, RunId, TenantId, Timestamp};

use crate::columns::{Columns as _, to_int};
use crate::error::StoreError;
use crate::journal::{Journal, JournalError, JournalRecord, Seq};
use crate::notify::tail;
use crate::postgres::error::sqlx_error;
use crate::postgres::handle::StoreHandle;
use crate::runs::decode::{decode_entry, decode_page, decode_record, decode_reply};
use crate::runs::{RunFilter, RunPage, RunRecord, RunStore, TreeCounts};

use row::{select_open_runs, select_records};

pub(super) mod prune;
pub(super) mod row;

/// The runs and their journals.
#[derive(Clone)]
pub(super) struct PostgresRuns(pub(super) StoreHandle);

#[async_trait]
impl RunStore for PostgresRuns {
    async fn get(&self, run: &RunId) -> Result<Option<RunRecord>, StoreError> {
        let row = self.0.read_row(sqlx::query(select_records!("WHERE r.run = $1")).bind(run.as_str())).await?;
        Ok(row.as_ref().map(decode_record).transpose()?.map(|(_, record)| record))
    }

    async fn reply(&self, run: &RunId) -> Result<Option<Reply>, StoreError> {
        let text: Option<String> = sqlx::query_scalar(
            "SELECT j.entry FROM runs r JOIN journal j ON j.run = r.number AND j.seq = r.seq \
             WHERE r.run = $1 AND r.ended",
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
                "WHERE r.number < $1 AND r.tenant = $2 AND ($3::text IS NULL OR r.status = $3) \
                 AND ($5::text IS NULL OR r.workflow = $5) ORDER BY r.number DESC LIMIT $4"
            )
        } else {
            select_records!(
                "WHERE r.number < $1 AND $2::text IS NULL AND ($3::text IS NULL OR r.status = $3) \
                 AND ($5::text IS NULL OR r.workflow = $5) ORDER BY r.number DESC LIMIT $4"
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
        select_open_runs(&self.0.readers, root).await
    }

    async fn list_unclaimed(
        &self,
        tenant: Option<&TenantId>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<RunRecord>, StoreError> {
        // The trees of this pod whose leases are over, besides those of no pod and of dead pods.
        let own: Vec<i64> = self.0.leases.unclaimed(now).into_iter().map(to_int).collect();
        let rows = sqlx::query(select_records!(
            "WHERE NOT r.ended AND ($1::text IS NULL OR r.tenant = $1) AND t.root IN (\
             SELECT f.root FROM trees f WHERE f.holder IS NULL AND f.open_runs > 0 AND f.wake_at <= $4 \
             UNION ALL SELECT d.root FROM pods h JOIN trees d ON d.holder = h.id \
             WHERE h.dead AND NOT h.cleaned AND d.open_runs > 0 AND d.wake_at <= $4 \
             UNION ALL SELECT o.root FROM trees o WHERE o.holder = $2 AND o.open_runs > 0 AND o.number = ANY ($3)) \
             AND NOT EXISTS (SELECT 1 FROM runs g WHERE g.run = t.root AND g.status = 'dead') \
             ORDER BY t.number, r.number LIMIT $5"
        ))
        .bind(tenant.map(TenantId::as_str))
        .bind(self.0.pod.id)
        .bind(own)
        .bind(now.as_micros())
        .bind(i64::from(limit))
        .fetch_all(&self.0.readers)
        .await
        .map_err(|error| sqlx_error(&error))?;
        rows.iter().map(|row| Ok(decode_record(row)?.1)).collect()
    }

    async fn count_trees(&self, now: Timestamp, limit: u32) -> Result<TreeCounts, StoreError> {
        // The trees of this pod whose leases are over have no owner, as in the list above.
        let own: Vec<i64> = self.0.leases.unclaimed(now).into_iter().map(to_int).collect();
        // The status is read by the id of each root, so that no plan reads all runs.
        let query = sqlx::query(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM (\
             SELECT f.root FROM trees f WHERE f.holder IS NULL AND f.open_runs > 0 AND f.wake_at <= $1 \
             UNION ALL SELECT d.root FROM pods h JOIN trees d ON d.holder = h.id \
             WHERE h.dead AND NOT h.cleaned AND d.open_runs > 0 AND d.wake_at <= $1 \
             UNION ALL SELECT o.root FROM trees o WHERE o.holder = $2 AND o.open_runs > 0 AND o.number = ANY ($3)) due \
             WHERE (SELECT g.status FROM runs g WHERE g.run = due.root) IS DISTINCT FROM 'dead' LIMIT $4) w) AS waiting, \
             (SELECT count(*) FROM (SELECT 1 FROM pods h JOIN trees t ON t.holder = h.id \
             WHERE NOT h.dead AND t.open_runs > 0 AND NOT (h.id = $2 AND t.number = ANY ($3)) LIMIT $4) l) AS owned",
        )
        .bind(now.as_micros())
        .bind(self.0.pod.id)
        .bind(own)
        .bind(i64::from(limit));
        let row = query.fetch_one(&self.0.readers).await.map_err(|error| sqlx_error(&error))?;
        Ok(TreeCounts { waiting: row.number("waiting")?, owned: row.number("owned")? })
    }
}

#[async_trait]
impl Journal for PostgresRuns {
    async fn read(&self, run: &RunId, after: Seq, limit: u32) -> Result<Vec<JournalRecord>, JournalError> {
        let query = sqlx::query(
            "SELECT j.seq, j.at, j.entry FROM runs r JOIN journal j ON j.run = r.number \
             WHERE r.run = $1 AND j.seq > $2 ORDER BY j.seq LIMIT $3",
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
