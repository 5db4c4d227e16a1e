//! The audit in PostgreSQL, as it is read: the records of all chains, in the order in which they were written.

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::TenantId;
use protocol::limits::PAGE_ROWS_MAX;
use sqlx::postgres::PgRow;

use crate::audit::verify::ChainReport;
use crate::audit::{AuditError, AuditLog, AuditPage, AuditScope, AuditSeq, ListedRecord, RootRecord};
use crate::columns::{Columns as _, to_int};
use crate::error::StoreError;
use crate::postgres::connection::connect;
use crate::postgres::error::sqlx_error;
use crate::postgres::handle::StoreHandle;

pub(super) mod export;
pub(super) mod lane_chain;
pub(super) mod prune;
mod prune_root;
pub(super) mod root;
pub(super) mod verify;

/// Selects the records of a scope: `$1` is its tenant, `$2` is true if it has the events of the platform.
macro_rules! select_scope {
    ($rest:literal) => {
        concat!(
            "SELECT a.chain, a.number, a.record FROM audit a ",
            "WHERE ($1::text IS NULL OR a.tenant = $1 OR ($2 AND a.tenant IS NULL)) AND ",
            $rest
        )
    };
}

/// Records of the root chain that are read at once.
const ROOT_RECORDS_MAX: i64 = 1_024;

/// The audit.
pub(super) struct PostgresAudit(pub(super) StoreHandle);

#[async_trait]
impl AuditLog for PostgresAudit {
    async fn read(&self, scope: &AuditScope, before: Option<AuditSeq>, limit: u32) -> Result<AuditPage, AuditError> {
        self.0.flush().await?;
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let sql = select_scope!(
            "($3::bigint IS NULL OR a.position < (SELECT b.position FROM audit b WHERE b.chain = $3 AND b.number = $4)) \
             ORDER BY a.position DESC LIMIT $5"
        );
        let rows = sqlx::query(sql)
            .bind(scope.tenant().map(TenantId::as_str))
            .bind(scope.has_system_events())
            .bind(before.map(|before| to_int(before.chain())))
            .bind(before.map(|before| to_int(before.number())))
            .bind(i64::from(limit) + 1)
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| sqlx_error(&error))?;
        let is_more = rows.len() > limit as usize;
        let page = rows.get(..rows.len().min(limit as usize)).unwrap_or_default();
        let records = page.iter().map(record_of).collect::<Result<Vec<_>, _>>()?;
        let next = page.last().filter(|_| is_more).map(seq_of).transpose()?;
        Ok(AuditPage { records, next })
    }

    async fn read_root(&self, after: u64) -> Result<Vec<RootRecord>, AuditError> {
        let rows =
            sqlx::query("SELECT number, hash, record FROM audit_root WHERE number > $1 ORDER BY number LIMIT $2")
                .bind(to_int(after))
                .bind(ROOT_RECORDS_MAX)
                .fetch_all(&self.0.readers)
                .await
                .map_err(|error| sqlx_error(&error))?;
        let decode = |row: &PgRow| {
            let (number, hash, record) = (row.number("number")?, row.hash("hash")?, row.text("record")?.to_owned());
            Ok::<_, StoreError>(RootRecord { number, hash, record })
        };
        Ok(rows.iter().map(decode).collect::<Result<_, _>>()?)
    }

    /// An id of two numbers (`CHAIN/NUMBER`) names a record of one chain, a number the records with this number of all
    /// chains.
    async fn find(&self, scope: &AuditScope, id: &str) -> Result<Vec<ListedRecord>, AuditError> {
        self.0.flush().await?;
        let (chain, number) = match id.split_once('/') {
            Some((chain, number)) => (chain.parse::<u64>().ok(), number.parse::<u64>().ok()),
            None => match id.parse::<u64>().map(AuditSeq) {
                Ok(seq) if seq.chain() > 0 => (Some(seq.chain()), Some(seq.number())),
                Ok(seq) => (None, Some(seq.number())),
                Err(_) => (None, None),
            },
        };
        let query = match number {
            Some(number) => sqlx::query(select_scope!(
                "a.number = $3 AND a.chain IN (SELECT c.chain FROM audit_chains c WHERE $4::bigint IS NULL OR c.chain = $4) \
                 ORDER BY a.chain"
            ))
            .bind(scope.tenant().map(TenantId::as_str))
            .bind(scope.has_system_events())
            .bind(to_int(number))
            .bind(chain.map(to_int)),
            None => sqlx::query(select_scope!("a.request = $3 ORDER BY a.position"))
                .bind(scope.tenant().map(TenantId::as_str))
                .bind(scope.has_system_events())
                .bind(id.to_owned()),
        };
        let rows = query.fetch_all(&self.0.readers).await.map_err(|error| sqlx_error(&error))?;
        Ok(rows.iter().map(record_of).collect::<Result<_, _>>()?)
    }

    async fn verify(&self) -> Result<ChainReport, AuditError> {
        // The chains of a closed store can still be verified.
        self.0.flush_if_open().await?;
        let mut connection = connect(&self.0.options).await?;
        Ok(verify::verify(&mut connection, self.0.signer.chain_key()).await?)
    }
}

fn record_of(row: &PgRow) -> Result<ListedRecord, StoreError> {
    Ok(ListedRecord::of_chain(row.number("chain")?, serde_json::from_str(row.text("record")?)?))
}

fn seq_of(row: &PgRow) -> Result<AuditSeq, StoreError> {
    Ok(AuditSeq::in_chain(row.number("chain")?, row.number("number")?))
}
