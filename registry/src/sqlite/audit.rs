//! The audit in SQLite, as it is read, verified and pruned.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::TenantId;
use protocol::limits::PAGE_ROWS_MAX;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use crate::audit::head::SignedHead;
use crate::audit::signer::Signer;
use crate::audit::verify::{ChainReport, ChainVerifier};
use crate::audit::{AuditError, AuditLog, AuditPage, AuditScope, AuditSeq, ChainKey, ListedRecord};
use crate::error::StoreError;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::identity::Identity;
use crate::sqlite::statement_batch::to_int;

use chain::decode_row;

pub(super) mod chain;
pub(super) mod export;
pub(super) mod prune;

/// Records that a verification reads at once.
const VERIFY_BATCH_ENTRIES: i64 = 4_096;

/// The audit.
pub(super) struct SqliteAudit {
    pub(super) store: StoreHandle,
    pub(super) signer: Arc<Signer>,
}

#[async_trait]
impl AuditLog for SqliteAudit {
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

    async fn find(&self, scope: &AuditScope, id: &str) -> Result<Vec<ListedRecord>, AuditError> {
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

fn record_of(row: &sqlx::sqlite::SqliteRow) -> Result<ListedRecord, StoreError> {
    Ok(ListedRecord::of_only_chain(serde_json::from_str(row.text("record")?)?))
}

#[cfg(test)]
mod tests;
