//! The vectors of the owners whose memories were recalled last, within a bound of bytes for all of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{RwLock, Semaphore, SemaphorePermit};

use super::embedder::EmbedderId;
use super::matrix::{EMPTY_BYTES, Matrix};
use super::{CACHE_BYTES_DEFAULT, MemoryOwner, VectorQuery};

/// Bytes of a matrix that is loaded beside others without waiting for them.
const SMALL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Larger matrices that are loaded at once. One that is dropped while it is loaded takes memory all the same.
const LOADS_MAX: usize = 2;

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
    /// The bytes of all.
    bytes: usize,
}

/// The matrices of a process.
pub(crate) struct Matrices {
    entries: Mutex<Entries>,
    bytes_max: AtomicUsize,
    loads: Semaphore,
}

impl Default for Matrices {
    /// No matrix yet, and at most [`CACHE_BYTES_DEFAULT`].
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            bytes_max: AtomicUsize::new(CACHE_BYTES_DEFAULT),
            loads: Semaphore::new(LOADS_MAX),
        }
    }
}

impl Matrices {
    /// The bytes that all matrices may have.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// Sets the bytes that all matrices may have.
    pub(crate) fn set_bytes_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// The matrix of a key, which may have no row yet.
    pub(crate) fn get(&self, key: &MatrixKey) -> Arc<RwLock<Matrix>> {
        let mut entries = self.entries();
        entries.uses += 1;
        let used = entries.uses;
        if let Some(entry) = entries.by_key.get_mut(key) {
            entry.used = used;
            return Arc::clone(&entry.matrix);
        }
        let matrix = Arc::new(RwLock::new(Matrix::new(key.dimensions)));
        entries.by_key.insert(key.clone(), Entry { matrix: Arc::clone(&matrix), bytes: EMPTY_BYTES, used });
        entries.bytes = entries.bytes.saturating_add(EMPTY_BYTES);
        matrix
    }

    /// Waits until a matrix of this size may be loaded. A small one waits for none.
    pub(crate) async fn wait_load(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        if bytes <= SMALL_BYTES_MAX {
            return None;
        }
        // It is never closed.
        self.loads.acquire().await.ok()
    }

    /// Records the size of a matrix, and drops those that were not used for the longest time if all are too large together.
    pub(crate) fn record(&self, key: &MatrixKey, bytes: usize) {
        let bytes_max = self.bytes_max();
        let mut entries = self.entries();
        let Some(entry) = entries.by_key.get_mut(key) else { return };
        let before = std::mem::replace(&mut entry.bytes, bytes);
        entries.bytes = entries.bytes.saturating_sub(before).saturating_add(bytes);
        while entries.bytes > bytes_max {
            let oldest = entries.by_key.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            let Some(dropped) = oldest.and_then(|key| entries.by_key.remove(&key)) else { return };
            entries.bytes = entries.bytes.saturating_sub(dropped.bytes);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use greenroom_protocol::{AgentId, TenantId};

    use super::*;

    fn key(agent: &str) -> MatrixKey {
        let owner = MemoryOwner { tenant: TenantId::new("acme").unwrap(), agent: AgentId::new(agent).unwrap() };
        MatrixKey { owner, embedder: EmbedderId::hashed(), dimensions: 2 }
    }

    fn matrices(bytes_max: usize) -> Matrices {
        let matrices = Matrices::default();
        matrices.set_bytes_max(bytes_max);
        matrices
    }

    #[test]
    fn the_matrix_that_was_not_used_for_the_longest_time_is_dropped_first() {
        let matrices = matrices(100_000);
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
        let matrices = matrices(100_000);
        let matrix = matrices.get(&key("one"));
        matrices.record(&key("one"), 100_001);
        assert!(!Arc::ptr_eq(&matrix, &matrices.get(&key("one"))));
    }

    #[test]
    fn the_bytes_of_all_are_those_of_what_was_not_dropped() {
        let matrices = matrices(100_000);
        for round in 0..50 {
            let key = key(["one", "two", "three"][round % 3]);
            matrices.get(&key);
            matrices.record(&key, 1_000 * round);
            matrices.record(&key, 30_000);
        }
        let entries = matrices.entries();
        assert_eq!(entries.bytes, entries.by_key.values().map(|entry| entry.bytes).sum::<usize>());
        assert!(entries.bytes <= 100_000 && !entries.by_key.is_empty(), "{}", entries.bytes);
    }

    #[tokio::test]
    async fn only_a_few_large_matrices_are_loaded_at_once_and_small_ones_wait_for_none() {
        let matrices = Matrices::default();
        let _loading = [matrices.wait_load(usize::MAX).await.unwrap(), matrices.wait_load(usize::MAX).await.unwrap()];
        assert!(matrices.wait_load(SMALL_BYTES_MAX).await.is_none());
        assert!(matrices.wait_load(usize::MAX).now_or_never().is_none());
    }
}
