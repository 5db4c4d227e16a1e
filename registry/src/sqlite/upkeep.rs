//! Check, backup and the orderly end of a database.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::Timestamp;
use sqlx::Connection as _;

use crate::audit::{AuditError, AuditLog};
use crate::error::StoreError;
use crate::sqlite::audit::SqliteAudit;
use crate::sqlite::commands::Command;
use crate::sqlite::{Shared, connect_apart, failed};
use crate::upkeep::{CheckReport, Upkeep};

/// The whole database.
pub(super) struct SqliteUpkeep {
    pub(super) shared: Arc<Shared>,
    pub(super) audit: Arc<SqliteAudit>,
}

#[async_trait]
impl Upkeep for SqliteUpkeep {
    async fn check(&self) -> Result<CheckReport, StoreError> {
        let mut connection = connect_apart(&self.shared.path).await?;
        let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_all(&mut connection)
            .await
            .map_err(|error| failed(&error))?;
        let schema = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
            .fetch_one(&mut connection)
            .await
            .map_err(|error| failed(&error))?;
        connection.close().await.map_err(|error| failed(&error))?;
        let audit = self.audit.verify().await.map_err(|AuditError::Store(error)| error)?;
        let problems = found.into_iter().filter(|line| line != "ok").collect();
        let bytes = tokio::fs::metadata(&self.shared.path).await?.len();
        Ok(CheckReport { problems, audit, schema, bytes })
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        match self.shared.flush().await {
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => return Err(error),
        }
        let name = to.to_str().ok_or_else(|| StoreError::Failed("the copy's path is not UTF-8".into()))?;
        let mut connection = connect_apart(&self.shared.path).await?;
        sqlx::query("VACUUM INTO ?").bind(name).execute(&mut connection).await.map_err(|error| failed(&error))?;
        connection.close().await.map_err(|error| failed(&error))
    }

    async fn close(&self, now: Timestamp) -> Result<(), StoreError> {
        match self.shared.queue.ask(|answer| Command::Close { now, answer }).await {
            // Closed before: there is nothing left to do.
            Ok(()) | Err(StoreError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
