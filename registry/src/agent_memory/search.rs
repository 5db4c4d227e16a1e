//! The exact search of the stores on SQL. A scan of the vectors in memory finds candidates, and their stored vectors
//! decide. What is in memory may have rows that the database has no longer, and never lacks one that it has:
//!
//! - Each write of an owner has the next version, and its rows have it too. A search reads the version of its owner, and
//!   adds the rows that were written since, by whichever pod.
//! - What was deleted is found missing when the candidates are read. Then it is dropped, and the search is repeated.
//! - If the version of an owner is less than before, the database was restored, and all rows are read again.
//!
//! An owner whose vectors do not fit into the memory is searched by reading all of them.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::embedder::EmbedderId;
use super::matrices::{Matrices, MatrixKey};
use super::matrix::{Matrix, Scan, VectorRow};
use super::vector::{numbers_of_bytes, similarity};
use super::{Memory, MemoryMatch, MemoryOwner, VectorQuery, best_first};
use crate::error::StoreError;

/// Rows of one page that is read.
const PAGE_ROWS_MAX: usize = 2_000;
/// Bytes of the vectors of one page.
const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Candidates that are read at once.
const CANDIDATES_MAX: usize = 500;
/// Numbers that are scanned on the thread of the caller; more are scanned on one that may block.
const INLINE_NUMBERS_MAX: usize = 512 * 1_024;
/// Searches until one finds no row missing.
const ROUNDS_MAX: usize = 5;
/// Searches after which only the missing rows are dropped. After a further one all rows are compared with the database.
const SMALL_ROUNDS: usize = 2;

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

    /// The vectors of an embedder after a position, in order, at most `limit`.
    async fn vectors_after(
        &self,
        owner: &MemoryOwner,
        embedder: &EmbedderId,
        after: &RowPosition,
        limit: u32,
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
        let Some(candidates) = find_candidates(Arc::clone(&matrix).read_owned().await, scan).await? else {
            return read_all(rows, owner, query, now).await;
        };
        let (matches, missing) = rescore(rows, owner, &query, &candidates, now).await?;
        if missing.is_empty() || round == ROUNDS_MAX {
            return Ok(matches);
        }
        let compares_all = round > SMALL_ROUNDS || missing.len() > CANDIDATES_MAX;
        drop_missing(rows, &matrix, owner, query.embedder, &missing, compares_all).await?;
        round += 1;
    }
}

/// Drops rows that were found missing, or all that the database has no longer.
async fn drop_missing(
    rows: &impl VectorRows,
    matrix: &Arc<RwLock<Matrix>>,
    owner: &MemoryOwner,
    embedder: &EmbedderId,
    missing: &[ContentHash],
    compares_all: bool,
) -> Result<(), StoreError> {
    // No row is added while the database is read, so a row that is not found then does not exist.
    let mut matrix = Arc::clone(matrix).write_owned().await;
    if compares_all {
        return compare(rows, matrix, owner, embedder).await.map(drop);
    }
    let stored = rows.by_ids(owner, embedder, missing).await?;
    let existing: HashSet<ContentHash> = stored.iter().map(|stored| stored.memory.id).collect();
    missing.iter().filter(|id| !existing.contains(*id)).for_each(|id| matrix.remove(id));
    Ok(())
}

/// Drops all rows that the database has no longer, on a thread that may block.
async fn compare(
    rows: &impl VectorRows,
    mut matrix: OwnedRwLockWriteGuard<Matrix>,
    owner: &MemoryOwner,
    embedder: &EmbedderId,
) -> Result<OwnedRwLockWriteGuard<Matrix>, StoreError> {
    let ids = rows.ids(owner, embedder).await?;
    let retained = tokio::task::spawn_blocking(move || {
        matrix.retain(&ids);
        matrix
    });
    retained.await.map_err(|error| StoreError::Failed(error.to_string()))
}

/// Adds the rows that were written since. Returns false if the vectors do not fit into the memory.
async fn load(
    rows: &impl VectorRows,
    matrices: &Matrices,
    key: &MatrixKey,
    matrix: &Arc<RwLock<Matrix>>,
    owner: &MemoryOwner,
    query: &VectorQuery<'_>,
) -> Result<bool, StoreError> {
    let mut version = rows.version(owner).await?;
    if matrix.read().await.version == Some(version) {
        return Ok(true);
    }
    let mut matrix = Arc::clone(matrix).write_owned().await;
    if matrix.version.is_some_and(|known| known >= version) {
        // Another search has added the rows meanwhile, unless the version is still less than that of the matrix.
        version = rows.version(owner).await?;
    }
    match matrix.version {
        Some(known) if known == version => return Ok(true),
        Some(known) if known > version => matrix.clear(),
        Some(_) | None => {}
    }
    let is_first = matrix.version.is_none();
    let mut expected_bytes = 0;
    if is_first {
        let count = usize::try_from(rows.count_vectors(owner, query.embedder).await?).unwrap_or(usize::MAX);
        expected_bytes = Matrix::bytes_of(count, query.vector.dimensions());
        if expected_bytes > matrices.bytes_max() {
            matrix.clear();
            matrices.record(key, matrix.bytes());
            return Ok(false);
        }
    }
    let _permit = matrices.wait_load(expected_bytes).await;
    if is_first {
        // What was read before a search was cut off is read again.
        matrix.clear();
        matrix.reserve_bytes(expected_bytes);
        // Others are dropped before this one is loaded.
        matrices.record(key, matrix.bytes());
    }
    if !add_rows(rows, matrices, &mut matrix, owner, query).await? {
        matrix.clear();
        matrices.record(key, matrix.bytes());
        return Ok(false);
    }
    if is_first {
        matrix.set_compared();
    } else if matrix.needs_comparison() {
        matrix = compare(rows, matrix, owner, query.embedder).await?;
    }
    // Rows of later versions may be among them, and are added once more then.
    matrix.version = Some(version);
    matrices.record(key, matrix.bytes());
    Ok(true)
}

/// Adds the rows after the version of a matrix, page by page. Returns false if they do not fit into the memory.
async fn add_rows(
    rows: &impl VectorRows,
    matrices: &Matrices,
    matrix: &mut Matrix,
    owner: &MemoryOwner,
    query: &VectorQuery<'_>,
) -> Result<bool, StoreError> {
    let limit = page_rows(query.vector.dimensions());
    let mut after = RowPosition::after(matrix.version);
    loop {
        let page = rows.vectors_after(owner, query.embedder, &after, limit).await?;
        page.iter().for_each(|row| matrix.upsert(row));
        if matrix.bytes() > matrices.bytes_max() {
            return Ok(false);
        }
        match next_page(&page, limit) {
            Some(position) => after = position,
            None => return Ok(true),
        }
    }
}

/// The rows of a page of vectors.
fn page_rows(dimensions: usize) -> u32 {
    let bytes = dimensions.saturating_mul(size_of::<f32>()).max(1);
    u32::try_from((PAGE_BYTES_MAX / bytes).clamp(1, PAGE_ROWS_MAX)).unwrap_or(1)
}

/// The position after a page; `None` if it is the last one.
fn next_page(page: &[VectorRow], limit: u32) -> Option<RowPosition> {
    let is_full = page.len() >= limit as usize;
    page.last().filter(|_| is_full).map(|row| RowPosition { version: row.version, id: row.id.as_bytes().to_vec() })
}

/// The candidates; `None` if another search has dropped the rows since they were loaded.
async fn find_candidates(
    matrix: OwnedRwLockReadGuard<Matrix>,
    scan: Scan,
) -> Result<Option<Vec<ContentHash>>, StoreError> {
    if matrix.version.is_none() {
        return Ok(None);
    }
    if matrix.size() <= INLINE_NUMBERS_MAX {
        return Ok(Some(matrix.candidates(&scan)));
    }
    let scanned = tokio::task::spawn_blocking(move || matrix.candidates(&scan)).await;
    scanned.map(Some).map_err(|error| StoreError::Failed(error.to_string()))
}

/// The matches among candidates, and those of these that are missing.
async fn rescore(
    rows: &impl VectorRows,
    owner: &MemoryOwner,
    query: &VectorQuery<'_>,
    candidates: &[ContentHash],
    now: Timestamp,
) -> Result<(Vec<MemoryMatch>, Vec<ContentHash>), StoreError> {
    let (mut matches, mut missing) = (Vec::new(), Vec::new());
    for ids in candidates.chunks(CANDIDATES_MAX) {
        let stored = rows.by_ids(owner, query.embedder, ids).await?;
        let existing: HashSet<ContentHash> = stored.iter().map(|stored| stored.memory.id).collect();
        missing.extend(ids.iter().filter(|id| !existing.contains(*id)).copied());
        matches.extend(stored.into_iter().filter_map(|stored| exact_match(stored, query, now)));
        matches.sort_by(best_first);
        matches.truncate(query.limit);
    }
    Ok((matches, missing))
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
    let limit = page_rows(query.vector.dimensions());
    let mut after = RowPosition::after(None);
    loop {
        let page = rows.vectors_after(owner, query.embedder, &after, limit).await?;
        let live = page.iter().filter(|row| row.expires_at.is_none_or(|expires_at| expires_at > now));
        best.extend(live.filter_map(|row| Some((exact_similarity(&row.vector, &query)?, row.at, row.id))));
        best.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| (other.1, other.2).cmp(&(one.1, one.2))));
        best.truncate(query.limit);
        match next_page(&page, limit) {
            Some(position) => after = position,
            None => break,
        }
    }
    let ids: Vec<ContentHash> = best.into_iter().map(|(_, _, id)| id).collect();
    Ok(rescore(rows, owner, &query, &ids, now).await?.0)
}

#[cfg(test)]
mod tests;
