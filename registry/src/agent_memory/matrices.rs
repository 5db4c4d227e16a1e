//! The vectors of the owners whose memories were recalled last, within a bound of bytes for all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::RwLock;

use super::embedder::EmbedderId;
use super::matrix::{EMPTY_BYTES, Matrix};
use super::{MemoryOwner, VectorQuery};

/// Bytes of the vectors that a process has in memory. 100,000 vectors of 256 dimensions take 67 MB of them.
pub(crate) const BYTES_MAX: usize = 512 * 1024 * 1024;

/// Whose vectors a matrix has, and of which embedder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MatrixKey {
    owner: MemoryOwner,
    embedder: EmbedderId,
    dimensions: usize,
}

impl MatrixKey {
    /// The key for a query.
    pub(crate) fn new(owner: &MemoryOwner, query: &VectorQuery<'_>) -> Self {
        Self { owner: owner.clone(), embedder: query.embedder.clone(), dimensions: query.vector.dimensions() }
    }
}

struct Entry {
    matrix: Arc<RwLock<Matrix>>,
    bytes: usize,
    /// The number of its last use.
    used: u64,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<MatrixKey, Entry>,
    uses: u64,
}

/// The matrices of a process.
pub(crate) struct Matrices {
    entries: Mutex<Entries>,
    bytes_max: usize,
}

impl Matrices {
    /// No matrix yet, and at most this many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: Mutex::default(), bytes_max }
    }

    /// The bytes of all matrices.
    pub(crate) const fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The matrix of a key, which may have no row yet.
    pub(crate) fn get(&self, key: &MatrixKey) -> Arc<RwLock<Matrix>> {
        let mut entries = self.entries();
        entries.uses += 1;
        let used = entries.uses;
        let new = || Entry { matrix: Arc::new(RwLock::new(Matrix::new(key.dimensions))), bytes: EMPTY_BYTES, used };
        let entry = entries.by_key.entry(key.clone()).or_insert_with(new);
        entry.used = used;
        Arc::clone(&entry.matrix)
    }

    /// Records the size of a matrix, and drops those that were not used for the longest time if all are too large together.
    pub(crate) fn record(&self, key: &MatrixKey, bytes: usize) {
        let mut entries = self.entries();
        if let Some(entry) = entries.by_key.get_mut(key) {
            entry.bytes = bytes;
        }
        let mut total: usize = entries.by_key.values().map(|entry| entry.bytes).sum();
        while total > self.bytes_max {
            let oldest = entries.by_key.iter().min_by_key(|(_, entry)| entry.used);
            let Some((oldest, bytes)) = oldest.map(|(key, entry)| (key.clone(), entry.bytes)) else { return };
            entries.by_key.remove(&oldest);
            total = total.saturating_sub(bytes);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{AgentId, TenantId};

    use super::*;

    fn key(agent: &str) -> MatrixKey {
        let owner = MemoryOwner { tenant: TenantId::new("acme").unwrap(), agent: AgentId::new(agent).unwrap() };
        MatrixKey { owner, embedder: EmbedderId::hashed(), dimensions: 2 }
    }

    #[test]
    fn the_matrix_that_was_not_used_for_the_longest_time_is_dropped_first() {
        let matrices = Matrices::new(100_000);
        let before: Vec<_> = ["one", "two", "three"].map(|agent| matrices.get(&key(agent))).into();
        matrices.record(&key("one"), 40_000);
        matrices.record(&key("two"), 40_000);
        assert!(Arc::ptr_eq(&before[0], &matrices.get(&key("one"))), "it is used again");
        matrices.record(&key("three"), 40_000);
        assert!(Arc::ptr_eq(&before[0], &matrices.get(&key("one"))));
        assert!(Arc::ptr_eq(&before[2], &matrices.get(&key("three"))));
        assert!(!Arc::ptr_eq(&before[1], &matrices.get(&key("two"))), "it was dropped");
    }

    #[test]
    fn a_matrix_that_is_too_large_by_itself_is_dropped() {
        let matrices = Matrices::new(100_000);
        let matrix = matrices.get(&key("one"));
        matrices.record(&key("one"), 100_001);
        assert!(!Arc::ptr_eq(&matrix, &matrices.get(&key("one"))));
    }
}
