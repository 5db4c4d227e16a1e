//! The exact search of the stores on SQL. A scan of the vectors in memory finds candidates, and their stored vectors
//! decide. What is in memory may have rows that the database has no longer, and never lacks one that it has:
//!
//! - Each write of an owner has the next version, and its rows have it too. A search reads the version of its owner, and
//!   adds the rows that were written since, by whichever pod.
//! - What was deleted is found missing when the candidates are read. Then the rows that exist are listed, and the search is
//!   repeated.
//!
//! An owner whose vectors do not fit into the memory is searched by reading all of them.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::embedder::EmbedderId;
use super::matrices::{Matrices, MatrixKey};
use super::matrix::{Matrix, Scan, VectorRow};
use super::vector::{numbers_of_bytes, similarity};
use super::{Memory, MemoryMatch, MemoryOwner, VectorQuery, best_first};
use crate::error::StoreError;

/// Rows of one page that is read.
pub(crate) const PAGE_ROWS: u32 = 2_000;
/// Candidates that are read at once.
const CANDIDATES_MAX: usize = 500;
/// Numbers that are scanned on the thread of the caller; more are scanned on one that may block.
const INLINE_NUMBERS_MAX: usize = 512 * 1_024;
/// Searches until one finds no row missing.
const ROUNDS_MAX: usize = 3;

/// After which row of an owner a page begins.
#[derive(Debug, Clone)]
pub(crate) struct RowPosition {
    /// Its version.
    pub(crate) version: i64,
    /// Its id; empty for the beginning of the version.
    pub(crate) id: Vec<u8>,
}

impl RowPosition {
    /// The position after all rows of a version; before all rows without one.
    fn after(version: Option<i64>) -> Self {
        Self { version: version.map_or(0, |version| version.saturating_add(1)), id: Vec::new() }
    }
}

/// A candidate as it is stored.
pub(crate) struct StoredMemory {
    /// The memory.
    pub(crate) memory: Memory,
    /// Its vector.
    pub(crate) vector: Vec<u8>,
}

/// The rows of the memories of a database.
#[async_trait]
pub(crate) trait VectorRows: Send + Sync {
    /// The version of an owner: how often it was written. 0 for one that was not written since there are versions.
    async fn version(&self, owner: &MemoryOwner) -> Result<i64, StoreError>;

    /// The number of the vectors of an embedder.
    async fn count_vectors(&self, owner: &MemoryOwner, embedder: &EmbedderId) -> Result<u64, StoreError>;

    /// The vectors of an embedder after a position, in order, at most [`PAGE_ROWS`].
    async fn vectors_after(
        &self,
        owner: &MemoryOwner,
        embedder: &EmbedderId,
        after: &RowPosition,
    ) -> Result<Vec<VectorRow>, StoreError>;

    /// The ids of all vectors of an embedder.
    async fn ids(&self, owner: &MemoryOwner, embedder: &EmbedderId) -> Result<HashSet<ContentHash>, StoreError>;

    /// Those of these memories that exist, whose vectors this embedder has computed.
    async fn by_ids(
        &self,
        owner: &MemoryOwner,
        embedder: &EmbedderId,
        ids: &[ContentHash],
    ) -> Result<Vec<StoredMemory>, StoreError>;
}

/// Finds the most similar memories, the most similar first; of equals, the newest first.
///
/// # Errors
/// Those of the database.
pub(crate) async fn recall(
    rows: &impl VectorRows,
    matrices: &Matrices,
    owner: &MemoryOwner,
    query: VectorQuery<'_>,
    now: Timestamp,
) -> Result<Vec<MemoryMatch>, StoreError> {
    if query.limit == 0 {
        return Ok(Vec::new());
    }
    let key = MatrixKey::new(owner, &query);
    let matrix = matrices.get(&key);
    if !load(rows, matrices, &key, &matrix, owner, &query).await? {
        return read_all(rows, owner, query, now).await;
    }
    let mut round = 1;
    loop {
        let scan = Scan { vector: query.vector.clone(), limit: query.limit, min_similarity: query.min_similarity, now };
        let candidates = find_candidates(Arc::clone(&matrix).read_owned().await, scan).await?;
        let (matches, existing) = rescore(rows, owner, &query, &candidates, now).await?;
        if existing == candidates.len() || round == ROUNDS_MAX {
            return Ok(matches);
        }
        // No row is added while the ids are read, so a row that is not among them does not exist.
        let mut matrix = matrix.write().await;
        let ids = rows.ids(owner, query.embedder).await?;
        matrix.retain(&ids);
        round += 1;
    }
}

/// Adds the rows that were written since. Returns false if the vectors do not fit into the memory.
async fn load(
    rows: &impl VectorRows,
    matrices: &Matrices,
    key: &MatrixKey,
    matrix: &RwLock<Matrix>,
    owner: &MemoryOwner,
    query: &VectorQuery<'_>,
) -> Result<bool, StoreError> {
    let version = rows.version(owner).await?;
    if matrix.read().await.version.is_some_and(|known| known >= version) {
        return Ok(true);
    }
    let mut matrix = matrix.write().await;
    if matrix.version.is_some_and(|known| known >= version) {
        return Ok(true);
    }
    let is_first = matrix.version.is_none();
    if is_first {
        let count = rows.count_vectors(owner, query.embedder).await?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if Matrix::bytes_of(count, query.vector.dimensions()) > matrices.bytes_max() {
            matrices.record(key, matrix.bytes());
            return Ok(false);
        }
    }
    let mut after = RowPosition::after(matrix.version);
    loop {
        let page = rows.vectors_after(owner, query.embedder, &after).await?;
        page.iter().for_each(|row| matrix.upsert(row));
        match next_page(&page) {
            Some(position) => after = position,
            None => break,
        }
    }
    if is_first {
        matrix.shrink();
    }
    // Rows of later versions may be among them, and are added once more then.
    matrix.version = Some(version);
    matrices.record(key, matrix.bytes());
    Ok(true)
}

/// The position after a page; `None` if it is the last one.
fn next_page(page: &[VectorRow]) -> Option<RowPosition> {
    let is_full = page.len() >= PAGE_ROWS as usize;
    page.last().filter(|_| is_full).map(|row| RowPosition { version: row.version, id: row.id.as_bytes().to_vec() })
}

async fn find_candidates(matrix: OwnedRwLockReadGuard<Matrix>, scan: Scan) -> Result<Vec<ContentHash>, StoreError> {
    if matrix.size() <= INLINE_NUMBERS_MAX {
        return Ok(matrix.candidates(&scan));
    }
    let scanned = tokio::task::spawn_blocking(move || matrix.candidates(&scan)).await;
    scanned.map_err(|error| StoreError::Failed(error.to_string()))
}

/// The matches among candidates, and how many of these exist.
async fn rescore(
    rows: &impl VectorRows,
    owner: &MemoryOwner,
    query: &VectorQuery<'_>,
    candidates: &[ContentHash],
    now: Timestamp,
) -> Result<(Vec<MemoryMatch>, usize), StoreError> {
    let (mut matches, mut existing) = (Vec::new(), 0);
    for ids in candidates.chunks(CANDIDATES_MAX) {
        let stored = rows.by_ids(owner, query.embedder, ids).await?;
        existing += stored.len();
        matches.extend(stored.into_iter().filter_map(|stored| exact_match(stored, query, now)));
        matches.sort_by(best_first);
        matches.truncate(query.limit);
    }
    Ok((matches, existing))
}

fn exact_match(stored: StoredMemory, query: &VectorQuery<'_>, now: Timestamp) -> Option<MemoryMatch> {
    let StoredMemory { memory, vector } = stored;
    let similarity = exact_similarity(&vector, query)?;
    memory.is_unexpired(now).then_some(MemoryMatch { memory, similarity })
}

fn exact_similarity(vector: &[u8], query: &VectorQuery<'_>) -> Option<f32> {
    let numbers: Vec<f32> = numbers_of_bytes(vector).collect();
    similarity(query.vector.as_slice(), &numbers).filter(|similarity| *similarity >= query.min_similarity)
}

/// Searches an owner whose vectors do not fit into the memory: reads all of them, page by page.
async fn read_all(
    rows: &impl VectorRows,
    owner: &MemoryOwner,
    query: VectorQuery<'_>,
    now: Timestamp,
) -> Result<Vec<MemoryMatch>, StoreError> {
    let mut best: Vec<(f32, Timestamp, ContentHash)> = Vec::new();
    let mut after = RowPosition::after(None);
    loop {
        let page = rows.vectors_after(owner, query.embedder, &after).await?;
        let live = page.iter().filter(|row| row.expires_at.is_none_or(|expires_at| expires_at > now));
        best.extend(live.filter_map(|row| Some((exact_similarity(&row.vector, &query)?, row.at, row.id))));
        best.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| (other.1, other.2).cmp(&(one.1, one.2))));
        best.truncate(query.limit);
        match next_page(&page) {
            Some(position) => after = position,
            None => break,
        }
    }
    let ids: Vec<ContentHash> = best.into_iter().map(|(_, _, id)| id).collect();
    Ok(rescore(rows, owner, &query, &ids, now).await?.0)
}
