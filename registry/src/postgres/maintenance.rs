//! Check, pruning and orderly close of a database.

use std::collections::HashSet;
use std::path::Path;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use greenroom_protocol::{ContentHash, TenantId, Timestamp};

use crate::artifacts::hash_scan::HashScanner;
use crate::audit::PruneReport;
use crate::columns::Columns as _;
use crate::error::StoreError;
use crate::group_commit::CommandSender;
use crate::maintenance::{CheckReport, StoreMaintenance};
use crate::postgres::command::{AccountsCommand, LaneCommand};
use crate::postgres::connection::{PAGE_TIMEOUT, connect, in_time};
use crate::postgres::handle::StoreHandle;
use crate::postgres::inspect::check;
use crate::postgres::tick::TickCommand;
use crate::postgres::{audit, idempotency, runs};

/// Selects every text that may reference an artifact, as bytes. A test compares this list with the schema.
pub(super) const ARTIFACT_REFERENCES: [&str; 4] = [
    "SELECT convert_to(entry, 'UTF8') AS value FROM journal",
    "SELECT convert_to(reply, 'UTF8') AS value FROM idempotency_keys WHERE reply IS NOT NULL",
    "SELECT convert_to(body, 'UTF8') AS value FROM inbox",
    "SELECT text AS value FROM memories",
];

/// Maintenance of one database.
pub(super) struct PostgresMaintenance {
    pub(super) store: StoreHandle,
    pub(super) tick: CommandSender<TickCommand>,
}

#[async_trait]
impl StoreMaintenance for PostgresMaintenance {
    async fn check(&self) -> Result<CheckReport, StoreError> {
        // A closed store can still be checked.
        self.store.flush_if_open().await?;
        let mut connection = connect(&self.store.options).await?;
        check(&mut connection, Some(self.store.signer.chain_key())).await
    }

    async fn backup(&self, _to: &Path) -> Result<(), StoreError> {
        let database = self.store.options.get_database().unwrap_or("DATABASE");
        Err(StoreError::Unsupported(format!(
            "a PostgreSQL database is backed up by the tools of its server: `pg_dump --format=custom --file=FILE {database}`"
        )))
    }

    async fn referenced_artifacts(&self) -> Result<HashSet<ContentHash>, StoreError> {
        self.store.flush().await?;
        let mut connection = connect(&self.store.options).await?;
        let mut scanner = HashScanner::default();
        for select in ARTIFACT_REFERENCES {
            let mut rows = sqlx::query(select).fetch(&mut connection);
            while let Some(row) = in_time(PAGE_TIMEOUT, rows.try_next()).await? {
                scanner.scan(row.bytes("value")?);
            }
        }
        Ok(scanner.into_hashes())
    }

    async fn prune_runs(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        runs::prune::prune(&self.store, tenant, before).await
    }

    async fn prune_keys(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        idempotency::prune(&self.store, tenant, before).await
    }

    async fn prune_audit(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, StoreError> {
        audit::prune::prune(&self.store, before, now).await
    }

    async fn close(&self, now: Timestamp) -> Result<(), StoreError> {
        if !self.store.close() {
            return Ok(());
        }
        // The lanes first, whose settlements the accounts show; the tick last, which releases what the pod owns.
        let lanes = self.store.lanes().iter().map(|lane| lane.request::<(), StoreError>(LaneCommand::Close));
        let mut closed = Ok(());
        for lane in futures::future::join_all(lanes).await {
            closed = closed.and_then(|()| ended(lane));
        }
        let accounts = self.store.accounts().request::<(), StoreError>(AccountsCommand::Close).await;
        closed = closed.and_then(|()| ended(accounts));
        let ticked = self.tick.request::<(), StoreError>(|reply| TickCommand::Close(now, reply)).await;
        self.store.journal_notifiers.close_all();
        closed.and_then(|()| ended(ticked))
    }
}

/// What has ended before is closed too.
fn ended(closed: Result<(), StoreError>) -> Result<(), StoreError> {
    match closed {
        Err(StoreError::Closed) => Ok(()),
        other => other,
    }
}
