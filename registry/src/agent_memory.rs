//! Agent memory: texts with a vector each, stored by tenant and agent, and found by the similarity of
//! their vectors. An [`embedder::Embedder`] computes the vector of a text.
//!
//! A query compares its vector with every memory of its owner: at most [`MEMORIES_MAX`] vectors of
//! [`embedder::DIMENSIONS`] numbers, about a quarter of a million multiplications. For more memories, a
//! vector database can implement the same trait.

use std::cmp::Ordering;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{AgentId, ContentHash, TenantId, Timestamp};

use crate::error::StoreError;

pub(crate) mod decode;
pub mod embedder;

/// Memories of one agent for one tenant; the oldest are evicted.
pub const MEMORIES_MAX: usize = 1_000;

/// The owner of memories. A query never finds the memories of another owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoryOwner {
    /// The tenant.
    pub tenant: TenantId,
    /// The agent, by its full id.
    pub agent: AgentId,
}

/// A remembered text.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// Its id, which is the same for the same execution, however often that is repeated.
    pub id: ContentHash,
    /// The text.
    pub text: String,
    /// When it was remembered.
    pub at: Timestamp,
    /// When it expires; without it, it is only evicted.
    pub expires_at: Option<Timestamp>,
}

impl Memory {
    /// True if it has not expired.
    #[must_use]
    pub fn is_unexpired(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| expires_at > now)
    }
}

/// A memory that matches a query.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryMatch {
    /// The memory.
    pub memory: Memory,
    /// The cosine similarity: 1 for the same direction, 0 for nothing in common.
    pub similarity: f32,
}

/// A query by vector.
#[derive(Debug, Clone, Copy)]
pub struct VectorQuery<'a> {
    /// The vector; memories with a vector of another length do not match.
    pub vector: &'a [f32],
    /// The maximum number of matches.
    pub limit: usize,
    /// The minimum similarity of a match.
    pub min_similarity: f32,
}

/// The memories of agents.
#[async_trait]
pub trait MemoryStore: Send + Sync {
    /// Stores a memory, and waits until it is durable. If its id is stored already, nothing changes.
    /// If the owner has [`MEMORIES_MAX`] memories already, the oldest is evicted.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing was stored.
    async fn remember(
        &self,
        owner: &MemoryOwner,
        memory: Memory,
        vector: &[f32],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Finds the most similar memories, the most similar first; of equals, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn recall(
        &self,
        owner: &MemoryOwner,
        query: VectorQuery<'_>,
        now: Timestamp,
    ) -> Result<Vec<MemoryMatch>, StoreError>;

    /// Lists the newest memories, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn list(&self, owner: &MemoryOwner, limit: usize, now: Timestamp) -> Result<Vec<Memory>, StoreError>;

    /// Deletes one memory of an owner, or all of them, waits until that is durable, and returns their
    /// number.
    ///
    /// # Errors
    /// [`StoreError`], and then no memory was deleted.
    async fn forget(&self, owner: &MemoryOwner, id: Option<&ContentHash>) -> Result<u64, StoreError>;
}

/// Returns the similarity of two vectors of length one; none for vectors of different dimensions.
#[must_use]
pub fn similarity(one: &[f32], other: &[f32]) -> Option<f32> {
    let product = || one.iter().zip(other).map(|(a, b)| a * b).sum();
    (one.len() == other.len()).then(product)
}

/// Returns the best matches, in the order of [`MemoryStore::recall`].
pub(crate) fn top_matches(
    query: VectorQuery<'_>,
    memories: impl Iterator<Item = (Memory, Vec<f32>)>,
) -> Vec<MemoryMatch> {
    let mut matches: Vec<_> = memories
        .filter_map(|(memory, vector)| {
            let similarity =
                similarity(query.vector, &vector).filter(|similarity| *similarity >= query.min_similarity)?;
            Some(MemoryMatch { memory, similarity })
        })
        .collect();
    matches.sort_by(|one, other| {
        let by_similarity = other.similarity.partial_cmp(&one.similarity).unwrap_or(Ordering::Equal);
        by_similarity.then_with(|| newest_first(&one.memory, &other.memory))
    });
    matches.truncate(query.limit);
    matches
}

/// Orders memories by age, the newest first.
pub(crate) fn newest_first(one: &Memory, other: &Memory) -> Ordering {
    (other.at, other.id).cmp(&(one.at, one.id))
}
