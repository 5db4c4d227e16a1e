//! The memories of agents, in memory. A query compares its vector with all of its owner.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, PrincipalId, TenantId, Timestamp};

use crate::agent_memory::embedder::EmbedderId;
use crate::agent_memory::vector::similarity;
use crate::agent_memory::{
    ForgetSelection, LIST_MAX, Memory, MemoryBatch, MemoryCount, MemoryMatch, MemoryOwner, MemoryStore, NewMemory,
    StoredVectors, VectorQuery, best_first, newest_first,
};
use crate::error::StoreError;
use crate::in_memory::shared::{Shared, lock};

/// The memories of one owner by their ids.
type OwnerMemories = BTreeMap<ContentHash, Stored>;

struct Stored {
    new: NewMemory,
    embedder: EmbedderId,
}

/// The memories of agents.
pub(super) struct InMemoryAgentMemory {
    shared: Arc<Shared>,
    owners: Mutex<BTreeMap<MemoryOwner, OwnerMemories>>,
}

impl InMemoryAgentMemory {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, owners: Mutex::default() }
    }

    /// Reads the memories of an owner that have not expired.
    fn read<T>(&self, owner: &MemoryOwner, now: Timestamp, read: impl FnOnce(Vec<&Stored>) -> T) -> T {
        let owners = lock(&self.owners);
        let stored = owners.get(owner).into_iter().flat_map(BTreeMap::values);
        read(stored.filter(|stored| stored.new.memory.is_unexpired(now)).collect())
    }

    /// Deletes memories, and returns their number.
    fn delete(&self, is_deleted: impl Fn(&MemoryOwner, &Memory) -> bool) -> Result<u64, StoreError> {
        self.shared.check_open()?;
        let mut deleted = 0;
        for (owner, memories) in lock(&self.owners).iter_mut() {
            let before = memories.len();
            memories.retain(|_, stored| !is_deleted(owner, &stored.new.memory));
            deleted += before - memories.len();
        }
        Ok(deleted as u64)
    }
}

/// Deletes the oldest of what executions have remembered, until the owner has its maximum.
fn evict(memories: &mut OwnerMemories, owner_max: usize) {
    let excess = memories.len().saturating_sub(owner_max);
    let of_executions = memories.values().map(|stored| &stored.new.memory).filter(|memory| memory.source.is_none());
    let mut oldest: Vec<(Timestamp, ContentHash)> = of_executions.map(|memory| (memory.at, memory.id)).collect();
    oldest.sort_unstable();
    for (_, id) in oldest.into_iter().take(excess) {
        memories.remove(&id);
    }
}

#[async_trait]
impl MemoryStore for InMemoryAgentMemory {
    async fn remember(&self, owner: &MemoryOwner, batch: &MemoryBatch, now: Timestamp) -> Result<(), StoreError> {
        self.shared.check_open()?;
        let mut owners = lock(&self.owners);
        let memories = owners.entry(owner.clone()).or_default();
        memories.retain(|_, stored| stored.new.memory.is_unexpired(now));
        for new in &batch.memories {
            let is_replaced = |stored: &Stored| new.memory.source.is_some() && new.memory.at >= stored.new.memory.at;
            if memories.get(&new.memory.id).is_none_or(is_replaced) {
                let stored = Stored { new: new.clone(), embedder: batch.embedder.clone() };
                memories.insert(new.memory.id, stored);
            }
        }
        evict(memories, batch.owner_max);
        Ok(())
    }

    async fn find_vectors(
        &self,
        owner: &MemoryOwner,
        embedder: &EmbedderId,
        ids: &[ContentHash],
    ) -> Result<StoredVectors, StoreError> {
        let owners = lock(&self.owners);
        let Some(memories) = owners.get(owner) else { return Ok(StoredVectors::new()) };
        let vector = |stored: &Stored| (stored.embedder == *embedder).then(|| stored.new.vector.clone());
        Ok(ids.iter().filter_map(|id| memories.get(id).map(|stored| (*id, vector(stored)))).collect())
    }

    async fn recall(
        &self,
        owner: &MemoryOwner,
        query: VectorQuery<'_>,
        now: Timestamp,
    ) -> Result<Vec<MemoryMatch>, StoreError> {
        let find = |stored: &&Stored| {
            let similarity = similarity(query.vector.as_slice(), stored.new.vector.as_slice())?;
            let is_match = stored.embedder == *query.embedder && similarity >= query.min_similarity;
            is_match.then(|| MemoryMatch { memory: stored.new.memory.clone(), similarity })
        };
        let mut matches: Vec<_> = self.read(owner, now, |stored| stored.iter().filter_map(find).collect());
        matches.sort_by(best_first);
        matches.truncate(query.limit);
        Ok(matches)
    }

    async fn list(&self, owner: &MemoryOwner, limit: usize, now: Timestamp) -> Result<Vec<Memory>, StoreError> {
        let mut memories: Vec<Memory> =
            self.read(owner, now, |stored| stored.iter().map(|stored| stored.new.memory.clone()).collect());
        memories.sort_by(newest_first);
        memories.truncate(limit.min(LIST_MAX));
        Ok(memories)
    }

    async fn count(&self, owner: &MemoryOwner, now: Timestamp) -> Result<MemoryCount, StoreError> {
        Ok(self.read(owner, now, |stored| {
            let of_documents = stored.iter().filter(|stored| stored.new.memory.source.is_some()).count();
            MemoryCount { memories: stored.len() as u64, of_documents: of_documents as u64 }
        }))
    }

    async fn forget(&self, owner: &MemoryOwner, selection: &ForgetSelection) -> Result<u64, StoreError> {
        let is_selected = |memory: &Memory| match selection {
            ForgetSelection::All => true,
            ForgetSelection::One(id) => memory.id == *id,
            ForgetSelection::Source { name, before } => {
                memory.source.as_ref().is_some_and(|source| source.name == *name)
                    && before.is_none_or(|before| memory.at < before)
            }
        };
        self.delete(|of, memory| of == owner && is_selected(memory))
    }

    async fn forget_of_tenant(&self, tenant: &TenantId, user: Option<&PrincipalId>) -> Result<u64, StoreError> {
        self.delete(|owner, memory| {
            owner.tenant == *tenant && user.is_none_or(|user| memory.user.as_ref() == Some(user))
        })
    }

    async fn prune(&self, tenant: Option<&TenantId>, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        self.delete(|owner, memory| {
            tenant.is_none_or(|tenant| owner.tenant == *tenant) && (memory.at < before || !memory.is_unexpired(now))
        })
    }
}
