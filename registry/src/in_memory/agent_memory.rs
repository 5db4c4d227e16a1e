//! The memories of agents, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};

use crate::agent_memory::{
    MEMORIES_MAX, Memory, MemoryMatch, MemoryOwner, MemoryStore, VectorQuery, newest_first, top_matches,
};
use crate::error::StoreError;
use crate::in_memory::shared::{Shared, lock};

/// The memories of one owner, the newest first.
type OwnerMemories = Vec<(Memory, Vec<f32>)>;

/// The memories of agents.
pub(super) struct InMemoryAgentMemory {
    shared: Arc<Shared>,
    owners: Mutex<BTreeMap<MemoryOwner, OwnerMemories>>,
}

impl InMemoryAgentMemory {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, owners: Mutex::default() }
    }

    fn unexpired(&self, owner: &MemoryOwner, now: Timestamp) -> OwnerMemories {
        let owners = lock(&self.owners);
        owners.get(owner).into_iter().flatten().filter(|(memory, _)| memory.is_unexpired(now)).cloned().collect()
    }
}

#[async_trait]
impl MemoryStore for InMemoryAgentMemory {
    async fn remember(
        &self,
        owner: &MemoryOwner,
        memory: Memory,
        vector: &[f32],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.shared.check_open()?;
        let mut owners = lock(&self.owners);
        let memories = owners.entry(owner.clone()).or_default();
        memories.retain(|(memory, _)| memory.is_unexpired(now));
        if memories.iter().all(|(stored, _)| stored.id != memory.id) {
            memories.push((memory, vector.to_vec()));
            memories.sort_by(|(one, _), (other, _)| newest_first(one, other));
            memories.truncate(MEMORIES_MAX);
        }
        Ok(())
    }

    async fn recall(
        &self,
        owner: &MemoryOwner,
        query: VectorQuery<'_>,
        now: Timestamp,
    ) -> Result<Vec<MemoryMatch>, StoreError> {
        Ok(top_matches(query, self.unexpired(owner, now).into_iter()))
    }

    async fn list(&self, owner: &MemoryOwner, limit: usize, now: Timestamp) -> Result<Vec<Memory>, StoreError> {
        Ok(self.unexpired(owner, now).into_iter().take(limit).map(|(memory, _)| memory).collect())
    }

    async fn forget(&self, owner: &MemoryOwner, id: Option<&ContentHash>) -> Result<u64, StoreError> {
        self.shared.check_open()?;
        let mut owners = lock(&self.owners);
        let Some(memories) = owners.get_mut(owner) else { return Ok(0) };
        let before = memories.len();
        memories.retain(|(memory, _)| id.is_some_and(|id| memory.id != *id));
        Ok((before - memories.len()) as u64)
    }
}
