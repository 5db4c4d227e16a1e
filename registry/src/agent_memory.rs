//! What agents remember: texts with a vector each, kept by tenant and agent, and found again by how
//! alike the vectors are. What makes vectors of texts is an [`embedder::Embedder`].
//!
//! A look compares with every memory of its owner: at most [`MEMORIES_MAX`] of
//! [`embedder::DIMENSIONS`] numbers, about a quarter of a million multiplications. A store for more
//! than that is a vector database behind the same trait.

use std::cmp::Ordering;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{AgentId, ContentHash, TenantId, Timestamp};

use crate::error::StoreError;

pub mod embedder;

/// Memories of one agent for one tenant; the oldest give way.
pub const MEMORIES_MAX: usize = 1_000;

/// Whose memory. Nothing is ever found in that of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoryOwner {
    /// The tenant.
    pub tenant: TenantId,
    /// The agent, by its full id.
    pub agent: AgentId,
}

/// A text that is remembered.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// Names it; the same for the same work, however often that is repeated.
    pub id: ContentHash,
    /// The text.
    pub text: String,
    /// When it was remembered.
    pub at: Timestamp,
    /// When it is forgotten by itself; without it, only when it has to give way.
    pub expires_at: Option<Timestamp>,
}

impl Memory {
    /// True as long as its time is not up.
    #[must_use]
    pub fn is_unexpired(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|until| until > now)
    }
}

/// A memory that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryMatch {
    /// The memory.
    pub memory: Memory,
    /// How alike: 1 is the same direction, 0 has nothing in common.
    pub similarity: f32,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct VectorQuery<'a> {
    /// The vector; memories of another length are not found.
    pub vector: &'a [f32],
    /// How many at most.
    pub limit: usize,
    /// How alike at least.
    pub min_similarity: f32,
}

/// Keeps what agents remember.
#[async_trait]
pub trait MemoryStore: Send + Sync {
    /// Keeps one more; durable when it is answered. One whose id is there already stays as it was.
    /// If there are [`MEMORIES_MAX`] already, the oldest is forgotten.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing was kept.
    async fn remember(
        &self,
        owner: &MemoryOwner,
        memory: Memory,
        vector: &[f32],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// The memories most like this, the most alike first; of equals, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn recall(
        &self,
        owner: &MemoryOwner,
        near: VectorQuery<'_>,
        now: Timestamp,
    ) -> Result<Vec<MemoryMatch>, StoreError>;

    /// The newest memories, at most so many.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn list(&self, owner: &MemoryOwner, most: usize, now: Timestamp) -> Result<Vec<Memory>, StoreError>;

    /// Forgets one memory, or all of this owner, and answers how many; durable when it is answered.
    ///
    /// # Errors
    /// [`StoreError`], and then none was forgotten.
    async fn forget(&self, owner: &MemoryOwner, id: Option<&ContentHash>) -> Result<u64, StoreError>;
}

/// How alike two vectors of length one are; nothing for vectors of different lengths.
#[must_use]
pub fn similarity(one: &[f32], other: &[f32]) -> Option<f32> {
    let product = || one.iter().zip(other).map(|(a, b)| a * b).sum();
    (one.len() == other.len()).then(product)
}

/// The best of these, as [`MemoryStore::recall`] promises them.
pub(crate) fn top_matches(near: VectorQuery<'_>, all: impl Iterator<Item = (Memory, Vec<f32>)>) -> Vec<MemoryMatch> {
    let mut found: Vec<_> = all
        .filter_map(|(memory, vector)| {
            let similarity =
                similarity(near.vector, &vector).filter(|similarity| *similarity >= near.min_similarity)?;
            Some(MemoryMatch { memory, similarity })
        })
        .collect();
    found.sort_by(|one, other| {
        let alike = other.similarity.partial_cmp(&one.similarity).unwrap_or(Ordering::Equal);
        alike.then_with(|| newest_first(&one.memory, &other.memory))
    });
    found.truncate(near.limit);
    found
}

/// The order of a list.
pub(crate) fn newest_first(one: &Memory, other: &Memory) -> Ordering {
    (other.at, other.id).cmp(&(one.at, one.id))
}
