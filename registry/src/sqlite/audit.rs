//! The audit in SQLite: readers serve reads, the writer serves writes.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::audit::{Closing, Event, Opening, Record};
use protocol::limits::PAGE_ROWS_MAX;
use protocol::{TenantId, Timestamp};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use crate::audit::chain::{ChainTip, EventJson};
use crate::audit::head::SignedHead;
use crate::audit::signer::Signer;
use crate::audit::verify::{ChainReport, ChainVerifier};
use crate::audit::{
    AuditError, AuditLog, AuditPage, AuditScope, AuditSeq, ChainKey, EntrySubject, OpenAuditEntry, PendingAuditEntry,
    PruneReport,
};
use crate::error::StoreError;
use crate::group_commit::CommitTiming;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::identity::Identity;
use crate::sqlite::statement_batch::to_int;

use chain::{CloseEntry, decode_row};
use commands::{OpenEntry, PruneAudit, RecordSystemEvent};

pub(super) mod chain;
mod commands;

/// Records that a verification reads at once.
const VERIFY_BATCH_ENTRIES: i64 = 4_096;

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
        let mut connection = self.store.readers.acquire().await.map_err(|error| sqlx_error(&error))?;
        Ok(verify_chain(&mut connection, &self.store.path, self.signer.chain_key()).await?)
    }

    async fn prune(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, AuditError> {
        self.store.flush().await?;
        let oldest_open = self.store.open_entries().first().copied().unwrap_or(u64::MAX);
        let last = sqlx::query(
            "SELECT number, hash, number - (SELECT MIN(number) FROM audit) + 1 AS records FROM audit \
             WHERE number < ?1 AND number < COALESCE((SELECT MIN(number) FROM audit WHERE at >= ?2), ?1) \
             ORDER BY number DESC LIMIT 1",
        )
        .bind(to_int(oldest_open))
        .bind(before.as_micros())
        .fetch_optional(&self.store.readers)
        .await
        .map_err(|error| sqlx_error(&error))?;
        let Some(last) = last else { return Ok(PruneReport::default()) };
        let through = ChainTip { number: last.number("number")?, hash: last.hash("hash")? };
        let prune = PruneAudit { through, records: last.number("records")?, now };
        Ok(self.store.queue.execute(prune).await?)
    }
}

/// Verifies the chain in a snapshot of the database, beside whatever is written meanwhile.
pub(super) async fn verify_chain(
    connection: &mut SqliteConnection,
    path: &Path,
    key: &ChainKey,
) -> Result<ChainReport, StoreError> {
    // A head is saved after its record is durable. So the snapshot, which is taken later, has the record; a head that
    // is read later than the snapshot may name a record after it.
    let saved = key.load_head()?;
    let mut snapshot = connection.begin().await.map_err(|error| sqlx_error(&error))?;
    let identity = Identity::fetch(&mut snapshot).await?;
    identity.check_key(path, key)?;
    identity.check_saved(path, key, saved.as_ref())?;
    let texts: Vec<String> = sqlx::query_scalar("SELECT head FROM audit_heads")
        .fetch_all(&mut *snapshot)
        .await
        .map_err(|error| sqlx_error(&error))?;
    let mut heads = texts.iter().map(|text| serde_json::from_str(text)).collect::<Result<Vec<SignedHead>, _>>()?;
    let saved = saved.map(|saved| saved.head).filter(|head| !head.is_replaced_by(&heads, key.verifying_key()));
    heads.extend(saved);
    let mut verifier = ChainVerifier::new(key.verifying_key(), heads);
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

#[cfg(test)]
mod tests;
