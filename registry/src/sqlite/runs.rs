//! Runs and their journals in SQLite: what is read comes from a reader, what is written goes to the
//! writer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::FutureExt;
use futures::stream::BoxStream;
use greenroom_protocol as protocol;
use protocol::journal::Entry;
use protocol::limits::PAGE_ROWS_MAX;
use protocol::{PodId, Reply, RunId, Timestamp};
use sqlx::Row;

use crate::error::StoreError;
use crate::group_commit::CommitTiming;
use crate::journal::{AppendPosition, Journal, JournalError, JournalRecord, PendingAppend, Receipt, Seq};
use crate::notify::{TailSource, tail};
use crate::runs::record::StatusChange;
use crate::runs::{Created, DedupKey, Fence, NewRun, RunFilter, RunPage, RunRecord, RunStore};
use crate::sqlite::commands::{Append, Begin, Command, Entries, RunWrite};
use crate::sqlite::statement_batch::{from_int, to_int};
use crate::sqlite::{Shared, failed};

use row::{head_of, select_heads};

pub(super) mod row;
pub(super) mod write;

/// Entries that a tail reads at once.
const TAIL_ENTRIES: u32 = 256;

/// The runs.
#[derive(Clone)]
pub(super) struct SqliteRuns(pub(super) Arc<Shared>);

#[async_trait]
impl RunStore for SqliteRuns {
    async fn create_with_entries(
        &self,
        run: &NewRun,
        key: Option<&DedupKey>,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<(Created, Option<Receipt>), JournalError> {
        let (new, key, entries) = (run.clone(), key.map(DedupKey::to_stored), Entries::of(entries)?);
        StatusChange::check_entries(&entries.marks)?;
        let begin = |answer| Command::Run(RunWrite::Begin(Box::new(Begin { new, key, entries, now, answer })));
        self.0.queue.request(begin).await
    }

    async fn claim(
        &self,
        run: &RunId,
        pod: &PodId,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Option<Fence>, StoreError> {
        let (run, pod) = (run.clone(), pod.clone());
        self.0.queue.request(|answer| Command::Run(RunWrite::Claim { run, pod, lease, now, answer })).await
    }

    async fn renew(&self, run: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.0.leases.renew(run, fence, Some(lease), now)
    }

    async fn release(&self, run: &RunId, fence: Fence) {
        self.0.leases.release(run, fence);
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunRecord>, StoreError> {
        let row = sqlx::query(select_heads!("WHERE run = ?"))
            .bind(run.as_str())
            .fetch_optional(&self.0.readers)
            .await
            .map_err(|error| failed(&error))?;
        Ok(row.as_ref().map(head_of).transpose()?.map(|(_, head)| head))
    }

    async fn reply(&self, run: &RunId) -> Result<Option<Reply>, StoreError> {
        let text: Option<String> = sqlx::query_scalar(
            "SELECT entry FROM journal WHERE run = (SELECT number FROM runs WHERE run = ? AND ended = 1) \
             ORDER BY seq DESC LIMIT 1",
        )
        .bind(run.as_str())
        .fetch_optional(&self.0.readers)
        .await
        .map_err(|error| failed(&error))?;
        let Some(text) = text else { return Ok(None) };
        match serde_json::from_str(&text)? {
            Entry::RunEnded { reply } => Ok(Some(*reply)),
            _ => Err(StoreError::Codec(format!("the run {run} has ended without an end"))),
        }
    }

    async fn list(&self, filter: &RunFilter, before: Option<u64>, limit: u32) -> Result<RunPage, StoreError> {
        let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let tenant = filter.tenant.as_ref().map(|tenant| tenant.as_str());
        let state = filter.status.map(protocol::event::RunStatus::as_str);
        let select = if tenant.is_some() {
            select_heads!(
                "WHERE number < ? AND tenant = ? AND (?3 IS NULL OR status = ?3) ORDER BY number DESC LIMIT ?4"
            )
        } else {
            select_heads!(
                "WHERE number < ? AND ?2 IS NULL AND (?3 IS NULL OR status = ?3) ORDER BY number DESC LIMIT ?4"
            )
        };
        let rows = sqlx::query(select)
            .bind(before)
            .bind(tenant)
            .bind(state)
            .bind(i64::from(limit) + 1)
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| failed(&error))?;
        let mut found = rows.iter().map(head_of).collect::<Result<Vec<_>, _>>()?;
        let is_more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next = found.last().filter(|_| is_more).and_then(|(number, _)| u64::try_from(*number).ok());
        Ok(RunPage { runs: found.into_iter().map(|(_, head)| head).collect(), next })
    }

    async fn list_unclaimed(&self, now: Timestamp, limit: u32) -> Result<Vec<RunRecord>, StoreError> {
        let mut free = Vec::new();
        let mut after = 0_i64;
        loop {
            let rows = sqlx::query(select_heads!("WHERE ended = 0 AND number > ? ORDER BY number LIMIT ?"))
                .bind(after)
                .bind(i64::from(PAGE_ROWS_MAX))
                .fetch_all(&self.0.readers)
                .await
                .map_err(|error| failed(&error))?;
            let is_last = rows.len() < PAGE_ROWS_MAX as usize;
            for row in &rows {
                let (number, head) = head_of(row)?;
                after = number;
                if !self.0.leases.is_held(&head.run, now) {
                    free.push(head);
                }
                if free.len() >= limit as usize {
                    return Ok(free);
                }
            }
            if is_last {
                return Ok(free);
            }
        }
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        let many = write::count_prunable(&self.0, before).await?;
        self.0.queue.request(|answer| Command::Run(RunWrite::Prune { before, answer })).await?;
        Ok(many)
    }
}

#[async_trait]
impl Journal for SqliteRuns {
    async fn submit(
        &self,
        tip: AppendPosition<'_>,
        entries: &[Entry],
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAppend, JournalError> {
        let AppendPosition { run, fence, after } = tip;
        let (run, entries) = (run.clone(), Entries::of(entries)?);
        let append = |answer| Append { run, fence, after, entries, timing, now, answer };
        let append = |answer| Command::Run(RunWrite::Append(Box::new(append(answer))));
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
        .map_err(|error| failed(&error))?;
        let journalled = |row: &sqlx::sqlite::SqliteRow| -> Result<JournalRecord, StoreError> {
            let seq: i64 = row.try_get("seq").map_err(|error| failed(&error))?;
            let at: i64 = row.try_get("at").map_err(|error| failed(&error))?;
            let entry: &str = row.try_get("entry").map_err(|error| failed(&error))?;
            let entry = serde_json::from_str(entry)?;
            Ok(JournalRecord { seq: Seq(from_int(seq)), at: Timestamp::from_micros(at), entry })
        };
        Ok(rows.iter().map(journalled).collect::<Result<_, _>>()?)
    }

    fn tail(&self, run: &RunId, after: Seq) -> BoxStream<'static, Result<JournalRecord, JournalError>> {
        let (store, name) = (self.clone(), run.clone());
        tail(TailSource {
            notify: self.0.journal_notifiers.subscribe(run),
            after: after.0,
            read: Box::new(move |after| {
                let (store, name) = (store.clone(), name.clone());
                async move { store.read(&name, Seq(after), TAIL_ENTRIES).await }.boxed()
            }),
            position: |item: &JournalRecord| item.seq.0,
            is_last: |item: &JournalRecord| matches!(item.entry, Entry::RunEnded { .. }),
        })
    }
}
