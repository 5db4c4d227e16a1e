//! Agent memory: texts with a vector each, stored by tenant and agent, and found by the similarity of
//! their vectors. An [`embedder::Embedder`] computes the vector of a text; vectors of different embedders are never
//! compared.
//!
//! The stores on SQL search exactly (`search.rs`). Qdrant ([`crate::qdrant`]) searches an index: it may miss a match, does
//! not order equal ones, and a memory whose id is stored already replaces it. So the trait promises none of that.

use std::collections::HashMap;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{AgentId, ContentHash, PrincipalId, TenantId, Timestamp};

use crate::error::StoreError;

pub mod chunks;
pub(crate) mod decode;
pub mod embedder;
pub(crate) mod matrices;
pub(crate) mod matrix;
pub(crate) mod search;
pub mod vector;

use embedder::EmbedderId;
use vector::UnitVector;

/// Memories of one agent for one tenant by default, the chunks of documents included.
pub const OWNER_MAX_DEFAULT: usize = 100_000;
/// Bytes of the vectors that a process has in memory by default. 100,000 vectors of 256 dimensions take 69 MB of them.
pub const CACHE_BYTES_DEFAULT: usize = 512 * 1024 * 1024;
/// Memories of one list.
pub const LIST_MAX: usize = 1_000;
/// Memories of one write.
pub const BATCH_MAX: usize = 256;
/// Memories that one transaction deletes.
pub(crate) const DELETED_MAX: u32 = 1_000;
/// Writes of single memories for which the memories of their owner are counted once, at most.
const EVICTION_INTERVAL_MAX: usize = 64;
/// The share of its maximum by which an owner may have more until its memories are counted, as a divisor.
const EXCESS_DIVISOR: usize = 1_000;

/// The rows of a list of at most `limit` memories.
pub(crate) fn listed_max(limit: usize) -> i64 {
    i64::try_from(limit.min(LIST_MAX)).unwrap_or(i64::MAX)
}

/// The owner of memories. A query never finds the memories of another owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoryOwner {
    /// The tenant.
    pub tenant: TenantId,
    /// The agent, by its full id.
    pub agent: AgentId,
}

/// Where the text of a memory is from: a part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySource {
    /// The name of the document, which its reader chose.
    pub name: String,
    /// The number of its first line in the document, from 1.
    pub first_line: u32,
    /// The number of its last line.
    pub last_line: u32,
}

/// A remembered text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Its id. What an execution remembers has the same id however often it is repeated, and a part of a document has the
    /// id of its content.
    pub id: ContentHash,
    /// The text.
    pub text: String,
    /// When it was remembered; a part of a document that is read again was remembered then.
    pub at: Timestamp,
    /// When it expires; without it, it is only evicted.
    pub expires_at: Option<Timestamp>,
    /// For whom it was remembered; `None` for what releases before this one have stored.
    pub user: Option<PrincipalId>,
    /// Its document; `None` for what an execution remembers.
    pub source: Option<MemorySource>,
}

impl Memory {
    /// True if it has not expired.
    #[must_use]
    pub fn is_unexpired(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| expires_at > now)
    }
}

/// A memory with its vector.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMemory {
    /// The memory.
    pub memory: Memory,
    /// Its vector.
    pub vector: UnitVector,
}

/// Memories that are written together.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryBatch {
    /// What has computed their vectors.
    pub embedder: EmbedderId,
    /// The memories, at most [`BATCH_MAX`].
    pub memories: Vec<NewMemory>,
    /// The memories that the owner may have.
    pub owner_max: usize,
}

impl MemoryBatch {
    /// The number of writes for which the memories of the owner are counted once. Counting 100,000 takes longer than the
    /// write of one, so single ones are counted after as many as may be a thousandth too much.
    pub(crate) fn eviction_interval(&self) -> u64 {
        match self.memories.len() {
            0 | 1 => (self.owner_max / EXCESS_DIVISOR).clamp(1, EVICTION_INTERVAL_MAX) as u64,
            _ => 1,
        }
    }
}

/// Memories that are stored by their ids; with their vectors, if the embedder in question has computed these.
pub type StoredVectors = HashMap<ContentHash, Option<UnitVector>>;

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
    pub vector: &'a UnitVector,
    /// What has computed it; memories whose vectors something else has computed do not match.
    pub embedder: &'a EmbedderId,
    /// The maximum number of matches.
    pub limit: usize,
    /// The minimum similarity of a match.
    pub min_similarity: f32,
}

/// How many memories an owner has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryCount {
    /// All that have not expired.
    pub memories: u64,
    /// Those of them that are parts of documents.
    pub of_documents: u64,
}

/// Which memories of an owner are deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForgetSelection {
    /// All.
    All,
    /// One.
    One(ContentHash),
    /// The parts of a document; with a time, those that were remembered before it.
    Source {
        /// The name of the document.
        name: String,
        /// The time.
        before: Option<Timestamp>,
    },
}

/// The memories of agents.
#[async_trait]
pub trait MemoryStore: Send + Sync {
    /// Stores memories, and waits until they are durable. Of a memory whose id is stored already, either remains; a part of
    /// a document replaces it, and of two parts one may remain that was remembered later. If the owner has more than its
    /// maximum then, the oldest of what executions have remembered are evicted, and never parts of documents. An owner may
    /// have a thousandth more than its maximum.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing was stored, unless its outcome is not known.
    async fn remember(&self, owner: &MemoryOwner, batch: &MemoryBatch, now: Timestamp) -> Result<(), StoreError>;

    /// Those of these memories that are stored, at most [`BATCH_MAX`], with the vectors that this embedder has computed.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn find_vectors(
        &self,
        owner: &MemoryOwner,
        embedder: &EmbedderId,
        ids: &[ContentHash],
    ) -> Result<StoredVectors, StoreError>;

    /// Finds the most similar memories, the most similar first.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn recall(
        &self,
        owner: &MemoryOwner,
        query: VectorQuery<'_>,
        now: Timestamp,
    ) -> Result<Vec<MemoryMatch>, StoreError>;

    /// Lists the newest memories, at most `limit` and [`LIST_MAX`].
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn list(&self, owner: &MemoryOwner, limit: usize, now: Timestamp) -> Result<Vec<Memory>, StoreError>;

    /// Counts the memories of an owner.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn count(&self, owner: &MemoryOwner, now: Timestamp) -> Result<MemoryCount, StoreError>;

    /// Deletes memories of an owner, in pieces, waits until that is durable, and returns their number.
    ///
    /// # Errors
    /// [`StoreError`], and then only some of them may have been deleted.
    async fn forget(&self, owner: &MemoryOwner, selection: &ForgetSelection) -> Result<u64, StoreError>;

    /// Deletes what all agents of a tenant have remembered: for one of its users, or for all and documents too. It deletes
    /// in pieces, and returns the number.
    ///
    /// # Errors
    /// As [`MemoryStore::forget`].
    async fn forget_of_tenant(&self, tenant: &TenantId, user: Option<&PrincipalId>) -> Result<u64, StoreError>;

    /// Deletes what a tenant (none: each tenant) has remembered before a time, and what has expired by `now`. It deletes in
    /// pieces, and returns the number.
    ///
    /// # Errors
    /// As [`MemoryStore::forget`].
    async fn prune(&self, tenant: Option<&TenantId>, before: Timestamp, now: Timestamp) -> Result<u64, StoreError>;

    /// The artifacts that memories reference and [`crate::maintenance::StoreMaintenance::referenced_artifacts`] does not
    /// know, because they are not in its database.
    ///
    /// # Errors
    /// [`StoreError`] if not everything could be read; the caller must not sweep then.
    async fn referenced_artifacts(&self) -> Result<std::collections::HashSet<ContentHash>, StoreError> {
        Ok(std::collections::HashSet::new())
    }

    /// Sets how many bytes of vectors the store may have in memory. A store that has none there ignores it.
    fn set_cache_bytes_max(&self, _bytes_max: usize) {}
}

/// Orders matches: the most similar first; of equals, the newest first.
pub(crate) fn best_first(one: &MemoryMatch, other: &MemoryMatch) -> std::cmp::Ordering {
    other.similarity.total_cmp(&one.similarity).then_with(|| newest_first(&one.memory, &other.memory))
}

/// Orders memories by age, the newest first.
pub(crate) fn newest_first(one: &Memory, other: &Memory) -> std::cmp::Ordering {
    (other.at, other.id).cmp(&(one.at, one.id))
}
