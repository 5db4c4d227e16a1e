//! The audit in SQLite, as it is read, verified and pruned.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::TenantId;
use protocol::audit::Record;
use protocol::limits::PAGE_ROWS_MAX;
use sqlx::sqlite::SqliteConnection;

use crate::audit::head::SignedHead;
use crate::audit::signer::Signer;
use crate::audit::verify::{ChainReport, ChainVerifier};
use crate::audit::{AuditError, AuditLog, AuditPage, AuditScope, AuditSeq};
use crate::error::StoreError;
use crate::sqlite::columns::Columns as _;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::statement_batch::{from_int, to_int};

use chain::decode_row;

pub(super) mod chain;
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
