//! Check, backup, pruning and orderly close of a database.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use greenroom_protocol::{ContentHash, TenantId, Timestamp};
use sqlx::Connection as _;

use crate::artifacts::hash_scan::HashScanner;
use crate::audit::PruneReport;
use crate::audit::signer::Signer;
use crate::error::StoreError;
use crate::maintenance::{CheckReport, StoreMaintenance};
use crate::sqlite::connection::connect_dedicated;
use crate::sqlite::error::sqlx_error;
use crate::sqlite::handle::StoreHandle;
use crate::sqlite::inspect::examine;
use crate::sqlite::{audit, idempotency, runs};

/// Selects every text that may reference an artifact. A test compares this list with the schema.
pub(super) const ARTIFACT_REFERENCES: [&str; 3] = [
    "SELECT entry FROM journal",
    "SELECT reply FROM idempotency_keys WHERE reply IS NOT NULL",
    "SELECT text FROM memories",
];

/// Maintenance of one database.
pub(super) struct SqliteMaintenance {
    pub(super) store: StoreHandle,
    pub(super) signer: Arc<Signer>,
}

#[async_trait]
impl StoreMaintenance for SqliteMaintenance {
    async fn check(&self) -> Result<CheckReport, StoreError> {
        // A closed store can still be checked.
        self.store.flush_if_open().await?;
        examine(&self.store.path, self.signer.chain_key()).await
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.store.flush_if_open().await?;
        let path = to.to_str().ok_or_else(|| StoreError::Failed("the path of the copy is not UTF-8".into()))?;
        let mut connection = connect_dedicated(&self.store.path).await?;
        sqlx::query("VACUUM INTO ?").bind(path).execute(&mut connection).await.map_err(|error| sqlx_error(&error))?;
        connection.close().await.map_err(|error| sqlx_error(&error))
    }

    async fn referenced_artifacts(&self) -> Result<HashSet<ContentHash>, StoreError> {
        self.store.flush().await?;
        let mut connection = connect_dedicated(&self.store.path).await?;
        let mut scanner = HashScanner::default();
        for select in ARTIFACT_REFERENCES {
            let mut texts = sqlx::query_scalar::<_, String>(select).fetch(&mut connection);
            while let Some(text) = texts.try_next().await.map_err(|error| sqlx_error(&error))? {
                scanner.scan(text.as_bytes());
            }
        }
        connection.close().await.map_err(|error| sqlx_error(&error))?;
        Ok(scanner.into_hashes())
    }

    async fn prune_runs(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        runs::prune::prune(&self.store, tenant, before).await
    }

    async fn prune_keys(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        idempotency::prune::prune(&self.store, tenant, before).await
    }

    async fn prune_audit(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, StoreError> {
        audit::prune::prune(&self.store, before, now).await
    }

    async fn close(&self, now: Timestamp) -> Result<(), StoreError> {
        self.store.close(now).await
    }
}
