//! Decorators of the stores of contexts, artifacts, definitions and agent memories, and of their maintenance: each
//! write is reported to the hook, reads are forwarded.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use async_trait::async_trait;
use greenroom_protocol::{ArtifactRef, ContentHash, ContextKey, PrincipalId, RunId, TenantId, Timestamp};
use greenroom_registry::StoreError;
use greenroom_registry::agent_memory::embedder::EmbedderId;
use greenroom_registry::agent_memory::{
    ForgetSelection, Memory, MemoryBatch, MemoryCount, MemoryMatch, MemoryOwner, MemoryStore, StoredVectors,
    VectorQuery,
};
use greenroom_registry::artifacts::{
    ArtifactContent, ArtifactError, ArtifactInfo, ArtifactOwner, ArtifactSource, ArtifactStore, SweepReport,
};
use greenroom_registry::audit::PruneReport;
use greenroom_registry::context::{ContextData, ContextValue, ContextView, Snapshot, Version, ViewError};
use greenroom_registry::definition_store::{DefinitionStore, VersionInService};
use greenroom_registry::maintenance::{CheckReport, StoreMaintenance};
use greenroom_registry::runs::Fence;

use super::Hooked;

#[async_trait]
impl ContextView for Hooked<dyn ContextView> {
    async fn claim(&self, run: &RunId, fence: Fence, data: &ContextData, now: Timestamp) -> Result<(), ViewError> {
        self.write_through(self.inner.claim(run, fence, data, now)).await
    }

    async fn apply(
        &self,
        run: &RunId,
        fence: Fence,
        after: Version,
        changes: &[(ContextKey, ContextValue)],
        now: Timestamp,
    ) -> Result<(), ViewError> {
        self.write_through(self.inner.apply(run, fence, after, changes, now)).await
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
        self.write_through(self.inner.remove(run, fence)).await
    }
}

#[async_trait]
impl ArtifactStore for Hooked<dyn ArtifactStore> {
    async fn put_stream(
        &self,
        owner: &ArtifactOwner,
        content: ArtifactSource<'_>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, ArtifactError> {
        self.write_through(self.inner.put_stream(owner, content, media_type, name)).await
    }

    async fn read(
        &self,
        tenant: &TenantId,
        hash: &ContentHash,
        range: Range<u64>,
    ) -> Result<Option<ArtifactContent>, ArtifactError> {
        self.inner.read(tenant, hash, range).await
    }

    async fn info(&self, tenant: &TenantId, hash: &ContentHash) -> Result<Option<ArtifactInfo>, ArtifactError> {
        self.inner.info(tenant, hash).await
    }

    async fn mark_personal_data(&self, tenant: &TenantId, hash: &ContentHash) -> Result<(), ArtifactError> {
        self.write_through(self.inner.mark_personal_data(tenant, hash)).await
    }

    async fn sweep(
        &self,
        named: HashSet<ContentHash>,
        tenant: Option<&TenantId>,
        now: Timestamp,
    ) -> Result<SweepReport, StoreError> {
        self.write_through(self.inner.sweep(named, tenant, now)).await
    }
}

#[async_trait]
impl DefinitionStore for Hooked<dyn DefinitionStore> {
    async fn put(&self, hash: &ContentHash, body: &str) -> Result<(), StoreError> {
        self.write_through(self.inner.put(hash, body)).await
    }

    async fn get(&self, hash: &ContentHash) -> Result<Option<String>, StoreError> {
        self.inner.get(hash).await
    }

    async fn set_in_service(&self, source: &str, versions: &[VersionInService]) -> Result<(), StoreError> {
        // A write of the start of a pod and of a reload, and of no run.
        self.inner.set_in_service(source, versions).await
    }

    async fn list_in_service(&self, source: &str) -> Result<Vec<VersionInService>, StoreError> {
        self.inner.list_in_service(source).await
    }
}

#[async_trait]
impl MemoryStore for Hooked<dyn MemoryStore> {
    async fn remember(&self, owner: &MemoryOwner, batch: &MemoryBatch, now: Timestamp) -> Result<(), StoreError> {
        self.write_through(self.inner.remember(owner, batch, now)).await
    }

    async fn find_vectors(
        &self,
        owner: &MemoryOwner,
        embedder: &EmbedderId,
        ids: &[ContentHash],
    ) -> Result<StoredVectors, StoreError> {
        self.inner.find_vectors(owner, embedder, ids).await
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

    async fn count(&self, owner: &MemoryOwner, now: Timestamp) -> Result<MemoryCount, StoreError> {
        self.inner.count(owner, now).await
    }

    async fn forget(&self, owner: &MemoryOwner, selection: &ForgetSelection) -> Result<u64, StoreError> {
        self.write_through(self.inner.forget(owner, selection)).await
    }

    async fn forget_of_tenant(&self, tenant: &TenantId, user: Option<&PrincipalId>) -> Result<u64, StoreError> {
        self.write_through(self.inner.forget_of_tenant(tenant, user)).await
    }

    async fn prune(&self, tenant: Option<&TenantId>, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        self.inner.prune(tenant, before, now).await
    }

    async fn referenced_artifacts(&self) -> Result<HashSet<ContentHash>, StoreError> {
        self.inner.referenced_artifacts().await
    }
}

#[async_trait]
impl StoreMaintenance for Hooked<dyn StoreMaintenance> {
    async fn check(&self) -> Result<CheckReport, StoreError> {
        self.inner.check().await
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.write_through(self.inner.backup(to)).await
    }

    async fn referenced_artifacts(&self) -> Result<HashSet<ContentHash>, StoreError> {
        self.inner.referenced_artifacts().await
    }

    async fn prune_runs(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        self.write_through(self.inner.prune_runs(tenant, before)).await
    }

    async fn prune_keys(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError> {
        self.write_through(self.inner.prune_keys(tenant, before)).await
    }

    async fn prune_audit(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, StoreError> {
        self.write_through(self.inner.prune_audit(before, now)).await
    }

    async fn close(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write_through(self.inner.close(now)).await
    }
}
