//! Decorators of the stores of contexts, artifacts, definitions and agent memories, and of their maintenance: each write passes the crash point, reads are forwarded.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::{ArtifactRef, ContentHash, ContextKey, RunId, TenantId, Timestamp};
use greenroom_registry::StoreError;
use greenroom_registry::agent_memory::{Memory, MemoryMatch, MemoryOwner, MemoryStore, VectorQuery};
use greenroom_registry::artifacts::{ArtifactError, ArtifactInfo, ArtifactOwner, ArtifactStore, SweepReport};
use greenroom_registry::audit::PruneReport;
use greenroom_registry::context::{ContextData, ContextValue, ContextView, Snapshot, Version, ViewError};
use greenroom_registry::definition_store::DefinitionStore;
use greenroom_registry::maintenance::{CheckReport, StoreMaintenance};
use greenroom_registry::runs::Fence;

use super::CrashPoint;

pub(super) struct CrashingContext {
    pub(super) inner: Arc<dyn ContextView>,
    pub(super) crash_point: Arc<CrashPoint>,
}

#[async_trait]
impl ContextView for CrashingContext {
    async fn claim(&self, run: &RunId, fence: Fence, data: &ContextData, now: Timestamp) -> Result<(), ViewError> {
        self.crash_point.write(self.inner.claim(run, fence, data, now)).await
    }

    async fn apply(
        &self,
        run: &RunId,
        fence: Fence,
        after: Version,
        changes: &[(ContextKey, ContextValue)],
        now: Timestamp,
    ) -> Result<(), ViewError> {
        self.crash_point.write(self.inner.apply(run, fence, after, changes, now)).await
    }

    async fn read(
        &self,
        run: &RunId,
        keys: &[ContextKey],
        at_least: Version,
        now: Timestamp,
    ) -> Result<Snapshot, ViewError> {
        self.inner.read(run, keys, at_least, now).await
    }

    async fn remove(&self, run: &RunId, fence: Fence) -> Result<(), ViewError> {
        self.crash_point.write(self.inner.remove(run, fence)).await
    }
}

pub(super) struct CrashingArtifacts {
    pub(super) inner: Arc<dyn ArtifactStore>,
    pub(super) crash_point: Arc<CrashPoint>,
}

#[async_trait]
impl ArtifactStore for CrashingArtifacts {
    async fn put(
        &self,
        owner: &ArtifactOwner,
        bytes: Vec<u8>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, ArtifactError> {
        self.crash_point.write(self.inner.put(owner, bytes, media_type, name)).await
    }

    async fn get(
        &self,
        tenant: &TenantId,
        hash: &ContentHash,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, ArtifactError> {
        self.inner.get(tenant, hash, bytes_max).await
    }

    async fn info(&self, tenant: &TenantId, hash: &ContentHash) -> Result<Option<ArtifactInfo>, ArtifactError> {
        self.inner.info(tenant, hash).await
    }

    async fn mark_personal_data(&self, tenant: &TenantId, hash: &ContentHash) -> Result<(), ArtifactError> {
        self.crash_point.write(self.inner.mark_personal_data(tenant, hash)).await
    }

    async fn sweep(
        &self,
        named: HashSet<ContentHash>,
        tenant: Option<&TenantId>,
        now: Timestamp,
    ) -> Result<SweepReport, StoreError> {
        self.crash_point.write(self.inner.sweep(named, tenant, now)).await
    }
}

pub(super) struct CrashingDefinitions {
    pub(super) inner: Arc<dyn DefinitionStore>,
    pub(super) crash_point: Arc<CrashPoint>,
}

#[async_trait]
impl DefinitionStore for CrashingDefinitions {
    async fn put(&self, hash: &ContentHash, body: &str) -> Result<(), StoreError> {
        self.crash_point.write(self.inner.put(hash, body)).await
    }

    async fn get(&self, hash: &ContentHash) -> Result<Option<String>, StoreError> {
        self.inner.get(hash).await
    }
}

pub(super) struct CrashingMemory {
    pub(super) inner: Arc<dyn MemoryStore>,
    pub(super) crash_point: Arc<CrashPoint>,
}

#[async_trait]
impl MemoryStore for CrashingMemory {
    async fn remember(
        &self,
        owner: &MemoryOwner,
        memory: Memory,
        vector: &[f32],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.crash_point.write(self.inner.remember(owner, memory, vector, now)).await
    }

    async fn recall(
        &self,
        owner: &MemoryOwner,
        query: VectorQuery<'_>,
        now: Timestamp,
    ) -> Result<Vec<MemoryMatch>, StoreError> {
        self.inner.recall(owner, query, now).await
    }

    async fn list(&self, owner: &MemoryOwner, limit: usize, now: Timestamp) -> Result<Vec<Memory>, StoreError> {
        self.inner.list(owner, limit, now).await
    }

    async fn forget(&self, owner: &MemoryOwner, id: Option<&ContentHash>) -> Result<u64, StoreError> {
        self.crash_point.write(self.inner.forget(owner, id)).await
    }
}

pub(super) struct CrashingMaintenance {
    pub(super) inner: Arc<dyn StoreMaintenance>,
    pub(super) crash_point: Arc<CrashPoint>,
}

#[async_trait]
impl StoreMaintenance for CrashingMaintenance {
    async fn check(&self) -> Result<CheckReport, StoreError> {
        self.inner.check().await
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.crash_point.write(self.inner.backup(to)).await
    }

    async fn referenced_artifacts(&self) -> Result<HashSet<ContentHash>, StoreError> {
        self.inner.referenced_artifacts().await
    }

    async fn prune_runs(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        self.crash_point.write(self.inner.prune_runs(tenant, before)).await
    }

    async fn prune_keys(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        self.crash_point.write(self.inner.prune_keys(tenant, before)).await
    }

    async fn prune_audit(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, StoreError> {
        self.crash_point.write(self.inner.prune_audit(before, now)).await
    }

    async fn close(&self, now: Timestamp) -> Result<(), StoreError> {
        self.crash_point.write(self.inner.close(now)).await
    }
}
