//! The audit in SQLite: readers serve reads, the writer serves writes.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::audit::{Closing, Event, Opening, Record};
use protocol::limits::PAGE_ROWS_MAX;
use protocol::{TenantId, Timestamp};
use sqlx::sqlite::SqliteConnection;

use crate::audit::chain::{ChainTip, EventJson};
use crate::audit::head::SignedHead;
use crate::audit::signer::Signer;
use crate::audit::verify::{ChainReport, ChainVerifier};
use crate::audit::{
    AuditError, AuditLog, AuditPage, AuditScope, AuditSeq, EntrySubject, OpenAuditEntry, PendingAuditEntry, PruneReport,
};
use crate::error::StoreError;
use crate::group_commit::CommitTiming;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::statement_batch::{from_int, to_int};

use chain::{CloseEntry, decode_row};
use commands::{OpenEntry, PruneAudit, RecordSystemEvent};

pub(super) mod chain;
mod commands;

/// Records that a verification reads at once.
const VERIFY_BATCH_ENTRIES: i64 = 4_096;

/// Records that one commit prunes, so that other commits go on between them.
const PRUNED_RECORDS_MAX: i64 = 4_096;

/// The audit.
pub(super) struct SqliteAudit {
    pub(super) store: StoreHandle,
    pub(super) signer: Arc<Signer>,
}

#[async_trait]
impl AuditLog for SqliteAudit {
    async fn submit(
        &self,
        opening: Opening,
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAuditEntry, AuditError> {
        let subject = EntrySubject::from_opening(&opening);
        let event = EventJson::from_event(&Event::Opened(opening)).map_err(StoreError::from)?;
        let open = OpenEntry { event, subject, at: now, timing, queue: self.store.queue.clone() };
        Ok(PendingAuditEntry::submitted(self.store.queue.submit(open).await?))
    }

    async fn close(&self, mut entry: OpenAuditEntry, closing: Closing, now: Timestamp) {
        let opened = entry.opened();
        let submitted = match EventJson::from_event(&Event::Closed { opened: opened.0, closing }) {
            Ok(event) => {
                let subject = entry.subject().clone();
                self.store.queue.send(CloseEntry { opened, event, subject, at: now }).await
            }
            Err(error) => Err(error.into()),
        };
        match submitted {
            Ok(()) => entry.disarm(),
            Err(error) => tracing::error!(audit.opened = opened.0, error = %error, "an audit entry cannot be closed"),
        }
    }

    async fn record_system_event(&self, subject: &str, message: &str, now: Timestamp) -> Result<AuditSeq, AuditError> {
        let event = Event::System { subject: subject.to_owned(), message: message.to_owned() };
        let event = EventJson::from_event(&event).map_err(StoreError::from)?;
        Ok(self.store.queue.execute(RecordSystemEvent { event, at: now }).await?)
    }

    async fn read(&self, scope: &AuditScope, before: Option<AuditSeq>, limit: u32) -> Result<AuditPage, AuditError> {
        self.store.flush().await?;
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let sql = "SELECT record FROM audit WHERE (?1 IS NULL OR tenant = ?1 OR (?2 AND tenant IS NULL)) \
                   AND number < ?3 ORDER BY number DESC LIMIT ?4";
        let rows = sqlx::query(sql)
            .bind(scope.tenant().map(TenantId::as_str))
            .bind(scope.has_system_events())
            .bind(before.map_or(i64::MAX, |AuditSeq(number)| to_int(number)))
            .bind(i64::from(limit) + 1)
            .fetch_all(&self.store.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let is_more = rows.len() > limit as usize;
        let records = rows.iter().take(limit as usize).map(record_of).collect::<Result<Vec<_>, _>>()?;
        let next = records.last().filter(|_| is_more).map(|record| AuditSeq(record.number));
        Ok(AuditPage { records, next })
    }

    async fn find(&self, scope: &AuditScope, id: &str) -> Result<Vec<Record>, AuditError> {
        self.store.flush().await?;
        let query = match id.parse::<u64>() {
            Ok(number) => sqlx::query(
                "SELECT record FROM audit WHERE number = ?3 AND (?1 IS NULL OR tenant = ?1 OR (?2 AND tenant IS NULL))",
            )
            .bind(scope.tenant().map(TenantId::as_str))
            .bind(scope.has_system_events())
            .bind(to_int(number)),
            Err(_) => sqlx::query(
                "SELECT record FROM audit WHERE request = ?3 AND (?1 IS NULL OR tenant = ?1 OR (?2 AND tenant IS NULL)) \
                 ORDER BY number",
            )
            .bind(scope.tenant().map(TenantId::as_str))
            .bind(scope.has_system_events())
            .bind(id.to_owned()),
        };
        let rows = query.fetch_all(&self.store.readers).await.map_err(|error| sqlx_error(&error))?;
        Ok(rows.iter().map(record_of).collect::<Result<_, _>>()?)
    }

    async fn verify(&self) -> Result<ChainReport, AuditError> {
        // The chain of a closed store can still be verified.
        self.store.flush_if_open().await?;
        let mut snapshot = self.store.readers.begin().await.map_err(|error| sqlx_error(&error))?;
        Ok(verify_chain(&mut snapshot, &self.signer).await?)
    }

    async fn prune(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, AuditError> {
        self.store.flush().await?;
        let oldest_open = self.store.open_entries().first().copied().unwrap_or(u64::MAX);
        let bounds = sqlx::query(
            "SELECT (SELECT MIN(number) FROM audit) AS first, MAX(number) AS last FROM audit WHERE number < ?1 \
             AND number < COALESCE((SELECT MIN(number) FROM audit WHERE at >= ?2), ?1)",
        )
        .bind(to_int(oldest_open))
        .bind(before.as_micros())
        .fetch_one(&self.store.readers)
        .await
        .map_err(|error| sqlx_error(&error))?;
        let Some((first, last)) = bounds.optional_int("first")?.zip(bounds.optional_int("last")?) else {
            return Ok(PruneReport::default());
        };
        let report = PruneReport { records: from_int(last - first + 1), through: AuditSeq(from_int(last)) };
        let message = format!("{} records are pruned, through {last}", report.records);
        let event = Event::System { subject: "audit".into(), message };
        let mut event = Some(EventJson::from_event(&event).map_err(StoreError::from)?);
        let mut through = first - 1;
        while through < last {
            through = last.min(through + PRUNED_RECORDS_MAX);
            let through = self.tip_at(through).await?;
            self.store.queue.execute(PruneAudit { through, event: event.take(), now }).await?;
        }
        Ok(report)
    }
}

impl SqliteAudit {
    /// The record of this number, as a tip.
    async fn tip_at(&self, number: i64) -> Result<ChainTip, StoreError> {
        let row = sqlx::query("SELECT hash FROM audit WHERE number = ?").bind(number);
        let row = row.fetch_one(&self.store.readers).await.map_err(|error| sqlx_error(&error))?;
        Ok(ChainTip { number: from_int(number), hash: row.hash("hash")? })
    }
}

/// Verifies the chain as it was at the start of this transaction.
pub(super) async fn verify_chain(snapshot: &mut SqliteConnection, signer: &Signer) -> Result<ChainReport, StoreError> {
    let last: Option<i64> = sqlx::query_scalar("SELECT MAX(number) FROM audit")
        .fetch_one(&mut *snapshot)
        .await
        .map_err(|error| sqlx_error(&error))?;
    let texts: Vec<String> = sqlx::query_scalar("SELECT head FROM audit_heads")
        .fetch_all(&mut *snapshot)
        .await
        .map_err(|error| sqlx_error(&error))?;
    let mut heads = texts.iter().map(|text| serde_json::from_str(text)).collect::<Result<Vec<SignedHead>, _>>()?;
    // A head that was signed while the snapshot was taken may name a record outside the snapshot.
    let last = from_int(last.unwrap_or_default());
    let newest = heads.iter().map(|head| head.number).max().unwrap_or_default();
    heads.extend(signer.load_head()?.filter(|head| head.number <= newest || head.number > last));
    let mut verifier = ChainVerifier::new(&signer.verifying_key(), heads);
    loop {
        let rows = sqlx::query("SELECT number, hash, record FROM audit WHERE number > ? ORDER BY number LIMIT ?")
            .bind(to_int(verifier.last_number()))
            .bind(VERIFY_BATCH_ENTRIES)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let before = verifier.last_number();
        for row in &rows {
            verifier.verify_next(&decode_row(row)?);
        }
        if rows.is_empty() || verifier.last_number() == before {
            return Ok(verifier.finish());
        }
    }
}

fn record_of(row: &sqlx::sqlite::SqliteRow) -> Result<Record, StoreError> {
    Ok(serde_json::from_str(row.text("record")?)?)
}
