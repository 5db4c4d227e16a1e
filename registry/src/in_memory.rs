//! Stores that live as long as the process: for tests, for measuring the cost of the disk, and as the
//! simplest implementation of each trait. They make the same decisions as the stores on the disk.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::{ContentHash, TenantId, Timestamp};

use crate::artifacts::hash_scan::HashScanner;
use crate::audit::{AuditLog, PruneReport};
use crate::cluster::one_pod;
use crate::error::StoreError;
use crate::maintenance::{CheckReport, StoreMaintenance};
use crate::runs::RunRecord;
use crate::stores::{OpenedStores, StoreParts, Stores};

use shared::Shared;

mod agent_memory;
pub(crate) mod artifacts;
mod audit;
mod audit_data;
pub(crate) mod context;
mod core;
mod credentials;
mod definitions;
mod generations;
mod idempotency;
mod ledger;
mod ledger_data;
mod run_data;
mod runs;
mod shared;

/// Opens every store.
pub(crate) fn open(parts: StoreParts) -> OpenedStores {
    let shared = Arc::new(Shared::new(parts.clock));
    let runs = Arc::new(runs::InMemoryRuns(shared.clone()));
    let audit = Arc::new(audit::InMemoryAudit { shared: shared.clone(), signer: parts.signer });
    let stores = Stores {
        id: format!("memory:{}", parts.pod),
        core: Arc::new(core::InMemoryCore(shared.clone())),
        runs: runs.clone(),
        journal: runs,
        audit: audit.clone(),
        ledger: Arc::new(ledger::InMemoryLedger(shared.clone())),
        context: context::in_memory_context_view(),
        artifacts: parts.artifacts,
        definitions: Arc::new(definitions::InMemoryDefinitions::default()),
        generations: Arc::new(generations::InMemoryGenerations::default()),
        credentials: Arc::new(credentials::InMemoryCredentials::default()),
        idempotency: Arc::new(idempotency::InMemoryIdempotency(shared.clone())),
        memory: Arc::new(agent_memory::InMemoryAgentMemory::new(shared.clone())),
        maintenance: Arc::new(InMemoryMaintenance { shared, audit }),
        cluster: one_pod(),
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
        Ok(scanner.into_hashes())
    }

    async fn prune_runs(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        self.shared.check_open()?;
        let mut runs = self.shared.runs();
        let open = runs.open_roots();
        let is_old = |record: &RunRecord| {
            tenant.is_none_or(|tenant| record.owner.tenant == *tenant)
                && record.status.is_terminal()
                && record.updated < before
                && !open.contains(&record.root)
        };
        let old = runs.runs.iter().filter(|(_, stored)| is_old(&stored.record));
        let removed: HashMap<_, _> = old.map(|(number, stored)| (stored.record.run.clone(), *number)).collect();
        for (run, number) in &removed {
            runs.numbers.remove(run);
            runs.runs.remove(number);
        }
        runs.keys.retain(|_, key_use| key_use.run.as_ref().is_none_or(|run| !removed.contains_key(run)));
        Ok(removed.len() as u64)
    }

    async fn prune_keys(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        self.shared.check_open()?;
        let mut runs = self.shared.runs();
        let all = runs.keys.len();
        runs.keys.retain(|(_, owner), key_use| {
            tenant.is_some_and(|tenant| tenant != owner) || key_use.reply.is_none() || key_use.at >= before
        });
        Ok((all - runs.keys.len()) as u64)
    }

    async fn prune_audit(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, StoreError> {
        self.shared.check_open()?;
        self.audit.prune(before, now)
    }

    async fn close(&self, _now: Timestamp) -> Result<(), StoreError> {
        self.shared.close();
        Ok(())
    }
}
