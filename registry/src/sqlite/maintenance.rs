//! Check, backup and the orderly end of a database.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use greenroom_protocol::{ContentHash, Timestamp};
use sqlx::Connection as _;

use crate::artifacts::hash_scan::HashScanner;
use crate::audit::signer::Signer;
use crate::error::StoreError;
use crate::maintenance::{CheckReport, StoreMaintenance};
use crate::sqlite::commands::Command;
use crate::sqlite::inspect::examine;
use crate::sqlite::{Shared, connect_dedicated, failed};

/// Every text that may name an artifact. A test compares this with the schema.
pub(super) const ARTIFACT_REFERENCES: [&str; 4] = [
    "SELECT entry FROM journal",
    "SELECT reply FROM idempotency_keys WHERE reply IS NOT NULL",
    "SELECT value FROM context_values WHERE value IS NOT NULL",
    "SELECT text FROM memories",
];

/// The whole database.
pub(super) struct SqliteUpkeep {
    pub(super) shared: Arc<Shared>,
    pub(super) signer: Arc<Signer>,
}

#[async_trait]
impl StoreMaintenance for SqliteUpkeep {
    async fn check(&self) -> Result<CheckReport, StoreError> {
        // A closed store can still be examined.
        match self.shared.flush().await {
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => return Err(error),
        }
        examine(&self.shared.path, &self.signer).await
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        match self.shared.flush().await {
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => return Err(error),
        }
        let name = to.to_str().ok_or_else(|| StoreError::Failed("the copy's path is not UTF-8".into()))?;
        let mut connection = connect_dedicated(&self.shared.path).await?;
        sqlx::query("VACUUM INTO ?").bind(name).execute(&mut connection).await.map_err(|error| failed(&error))?;
        connection.close().await.map_err(|error| failed(&error))
    }

    async fn referenced_artifacts(&self) -> Result<HashSet<ContentHash>, StoreError> {
        self.shared.flush().await?;
        let mut connection = connect_dedicated(&self.shared.path).await?;
        let mut names = HashScanner::default();
        for select in ARTIFACT_REFERENCES {
            let mut texts = sqlx::query_scalar::<_, String>(select).fetch(&mut connection);
            while let Some(text) = texts.try_next().await.map_err(|error| failed(&error))? {
                names.scan(text.as_bytes());
            }
        }
        connection.close().await.map_err(|error| failed(&error))?;
        Ok(names.into_hashes())
    }

    async fn close(&self, now: Timestamp) -> Result<(), StoreError> {
        match self.shared.queue.request(|answer| Command::Close { now, answer }).await {
            // Closed before: there is nothing left to do.
            Ok(()) | Err(StoreError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
