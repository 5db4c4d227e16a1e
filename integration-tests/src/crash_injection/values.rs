//! Contexts, artifacts, bodies of definitions, kept answers and the stores as a whole, with a plug in
//! each write; what is read passes through.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use greenroom_protocol::{ArtifactRef, ContentHash, ContextKey, Reply, RunId, TenantId, Timestamp};
use greenroom_registry::StoreError;
use greenroom_registry::agent_memory::{Memory, MemoryOwner, MemoryStore, Near, Recalled};
use greenroom_registry::artifacts::{ArtifactError, Artifacts, Swept};
use greenroom_registry::context::{ContextError, ContextEvent, ContextPut, ContextStore, Snapshot, Version, Versioned};
use greenroom_registry::definition_store::DefinitionBodies;
use greenroom_registry::idempotency::{Idempotency, Once};
use greenroom_registry::maintenance::{CheckReport, Upkeep};
use greenroom_registry::runs::{Fence, OnceKey};

use super::Plug;

pub(super) struct Contexts {
    pub(super) inner: Arc<dyn ContextStore>,
    pub(super) plug: Arc<Plug>,
}

#[async_trait]
impl ContextStore for Contexts {
    async fn claim(&self, run: &RunId) -> Result<Fence, ContextError> {
        self.plug.write(self.inner.claim(run)).await
    }

    async fn read(
        &self,
        run: &RunId,
        keys: &[ContextKey],
        now: Timestamp,
    ) -> Result<Vec<Option<Versioned>>, ContextError> {
        self.inner.read(run, keys, now).await
    }

    async fn write(&self, run: &RunId, fence: Fence, put: ContextPut, now: Timestamp) -> Result<Version, ContextError> {
        self.plug.write(self.inner.write(run, fence, put, now)).await
    }

    async fn snapshot(&self, run: &RunId, now: Timestamp) -> Result<Snapshot, ContextError> {
        self.inner.snapshot(run, now).await
    }

    fn watch(&self, run: &RunId, after: Version) -> BoxStream<'static, Result<ContextEvent, ContextError>> {
        self.inner.watch(run, after)
    }

    async fn expire(&self, run: &RunId, fence: Fence, now: Timestamp) -> Result<u64, ContextError> {
        self.plug.write(self.inner.expire(run, fence, now)).await
    }

    async fn remove(&self, run: &RunId, fence: Fence) -> Result<(), ContextError> {
        self.plug.write(self.inner.remove(run, fence)).await
    }
}

pub(super) struct Bytes {
    pub(super) inner: Arc<dyn Artifacts>,
    pub(super) plug: Arc<Plug>,
}

#[async_trait]
impl Artifacts for Bytes {
    async fn put(&self, bytes: Vec<u8>, media_type: &str, name: &str) -> Result<ArtifactRef, ArtifactError> {
        self.plug.write(self.inner.put(bytes, media_type, name)).await
    }

    async fn get(&self, hash: &ContentHash, bytes_max: u64) -> Result<Option<Vec<u8>>, ArtifactError> {
        self.inner.get(hash, bytes_max).await
    }

    async fn sweep(&self, named: HashSet<ContentHash>, now: Timestamp) -> Result<Swept, StoreError> {
        self.plug.write(self.inner.sweep(named, now)).await
    }
}

pub(super) struct Bodies {
    pub(super) inner: Arc<dyn DefinitionBodies>,
    pub(super) plug: Arc<Plug>,
}

#[async_trait]
impl DefinitionBodies for Bodies {
    async fn put(&self, hash: &ContentHash, body: &str) -> Result<(), StoreError> {
        self.plug.write(self.inner.put(hash, body)).await
    }

    async fn get(&self, hash: &ContentHash) -> Result<Option<String>, StoreError> {
        self.inner.get(hash).await
    }
}

pub(super) struct Keys {
    pub(super) inner: Arc<dyn Idempotency>,
    pub(super) plug: Arc<Plug>,
}

#[async_trait]
impl Idempotency for Keys {
    async fn begin(
        &self,
        tenant: &TenantId,
        key: &OnceKey,
        body: &ContentHash,
        now: Timestamp,
    ) -> Result<Once, StoreError> {
        self.plug.write(self.inner.begin(tenant, key, body, now)).await
    }

    async fn finish(&self, tenant: &TenantId, key: &OnceKey, reply: &Reply, now: Timestamp) -> Result<(), StoreError> {
        self.plug.write(self.inner.finish(tenant, key, reply, now)).await
    }

    async fn abandon(&self, tenant: &TenantId, key: &OnceKey) -> Result<(), StoreError> {
        self.plug.write(self.inner.abandon(tenant, key)).await
    }

    async fn lookup(&self, tenant: &TenantId, key: &OnceKey, body: &ContentHash) -> Result<Once, StoreError> {
        self.inner.lookup(tenant, key, body).await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.plug.write(self.inner.prune(before)).await
    }
}

pub(super) struct Memories {
    pub(super) inner: Arc<dyn MemoryStore>,
    pub(super) plug: Arc<Plug>,
}

#[async_trait]
impl MemoryStore for Memories {
    async fn remember(
        &self,
        owner: &MemoryOwner,
        memory: Memory,
        vector: &[f32],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.plug.write(self.inner.remember(owner, memory, vector, now)).await
    }

    async fn recall(&self, owner: &MemoryOwner, near: Near<'_>, now: Timestamp) -> Result<Vec<Recalled>, StoreError> {
        self.inner.recall(owner, near, now).await
    }

    async fn list(&self, owner: &MemoryOwner, most: usize, now: Timestamp) -> Result<Vec<Memory>, StoreError> {
        self.inner.list(owner, most, now).await
    }

    async fn forget(&self, owner: &MemoryOwner, id: Option<&ContentHash>) -> Result<u64, StoreError> {
        self.plug.write(self.inner.forget(owner, id)).await
    }
}

pub(super) struct Whole {
    pub(super) inner: Arc<dyn Upkeep>,
    pub(super) plug: Arc<Plug>,
}

#[async_trait]
impl Upkeep for Whole {
    async fn check(&self) -> Result<CheckReport, StoreError> {
        self.inner.check().await
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.plug.write(self.inner.backup(to)).await
    }

    async fn artifacts_named(&self) -> Result<HashSet<ContentHash>, StoreError> {
        self.inner.artifacts_named().await
    }

    async fn close(&self, now: Timestamp) -> Result<(), StoreError> {
        self.plug.write(self.inner.close(now)).await
    }
}
