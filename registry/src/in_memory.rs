//! Stores that live as long as the process: for tests, for measuring the cost of the disk, and as the
//! simplest implementation of each trait. They make the same decisions as the stores on the disk.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::{ContentHash, Timestamp};

use crate::artifacts::hash_scan::HashScanner;
use crate::audit::AuditLog;
use crate::error::StoreError;
use crate::maintenance::{CheckReport, StoreMaintenance};
use crate::stores::{OpenedStores, StoreParts, Stores};

use shared::Shared;

mod agent_memory;
pub(crate) mod artifacts;
mod audit;
mod context;
mod context_data;
mod definitions;
mod idempotency;
mod ledger;
mod run_data;
mod runs;
mod shared;

/// Opens every store.
pub(crate) fn open(parts: StoreParts) -> OpenedStores {
    let shared = Arc::new(Shared::default());
    let runs = Arc::new(runs::InMemoryRuns(shared.clone()));
    let audit = Arc::new(audit::InMemoryAudit::new(shared.clone(), parts.signer, parts.clock.clone()));
    let stores = Stores {
        runs: runs.clone(),
        journal: runs,
        audit: audit.clone(),
        ledger: Arc::new(ledger::InMemoryLedger::new(shared.clone(), parts.clock)),
        context: Arc::new(context::InMemoryContexts(shared.clone())),
        artifacts: parts.artifacts,
        definitions: Arc::new(definitions::InMemoryDefinitions::default()),
        idempotency: Arc::new(idempotency::InMemoryIdempotency(shared.clone())),
        memory: Arc::new(agent_memory::InMemoryAgentMemory::new(shared.clone())),
        maintenance: Arc::new(InMemoryMaintenance { shared, audit }),
    };
    OpenedStores { stores, tasks: Vec::new() }
}

struct InMemoryMaintenance {
    shared: Arc<Shared>,
    audit: Arc<audit::InMemoryAudit>,
}

#[async_trait]
impl StoreMaintenance for InMemoryMaintenance {
    async fn check(&self) -> Result<CheckReport, StoreError> {
        let audit = self.audit.verify().await.map_err(|crate::audit::AuditError::Store(error)| error)?;
        Ok(CheckReport { problems: Vec::new(), audit: Some(audit), schema: 0, bytes: 0 })
    }

    async fn backup(&self, _to: &Path) -> Result<(), StoreError> {
        Err(StoreError::Failed("in-memory stores have no backup".into()))
    }

    async fn referenced_artifacts(&self) -> Result<HashSet<ContentHash>, StoreError> {
        let mut scanner = HashScanner::default();
        self.shared.runs().scan_hashes(&mut scanner)?;
        self.shared.contexts().scan_hashes(&mut scanner)?;
        Ok(scanner.into_hashes())
    }

    async fn close(&self, _now: Timestamp) -> Result<(), StoreError> {
        self.shared.close();
        Ok(())
    }
}
