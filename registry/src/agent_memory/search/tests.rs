//! Searches over rows that a test changes: what is read for them, and what they find after every kind of change.

use std::sync::{Mutex, MutexGuard};

use greenroom_protocol::{AgentId, TenantId};

use super::*;
use crate::agent_memory::vector::UnitVector;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
/// More than an entry of a matrix without rows takes.
const CACHE_BYTES: usize = 64 * 1024;

/// A database of one owner and one embedder.
#[derive(Default)]
struct Database {
    version: i64,
    rows: Vec<(VectorRow, Memory)>,
    /// Candidates that were read.
    candidates: usize,
    /// How often all ids were listed.
    listings: usize,
    /// Pages that were read.
    pages: usize,
}

#[derive(Default)]
struct Rows(Mutex<Database>);

impl Rows {
    fn database(&self) -> MutexGuard<'_, Database> {
        self.0.lock().unwrap()
    }

    /// Adds memories in one write; each has the second of its number.
    fn add(&self, numbers: std::ops::Range<usize>, vector: impl Fn(usize) -> UnitVector) {
        let mut database = self.database();
        database.version += 1;
        let version = database.version;
        for number in numbers {
            let at = Timestamp::from_micros(NOW.as_micros() + i64::try_from(number).unwrap() * 1_000_000);
            let vector = vector(number).to_bytes();
            let memory =
                Memory { id: id(number), text: number.to_string(), at, expires_at: None, user: None, source: None };
            database.rows.push((VectorRow { id: id(number), version, at, expires_at: None, vector }, memory));
        }
    }

    fn delete(&self, number: usize) {
        self.database().rows.retain(|(row, _)| row.id != id(number));
    }
}

fn id(number: usize) -> ContentHash {
    ContentHash::from_content(&number.to_be_bytes())
}

#[async_trait]
impl VectorRows for Rows {
    async fn version(&self, _owner: &MemoryOwner) -> Result<i64, StoreError> {
        Ok(self.database().version)
    }

    async fn count_vectors(&self, _owner: &MemoryOwner, _embedder: &EmbedderId) -> Result<u64, StoreError> {
        Ok(self.database().rows.len() as u64)
    }

    async fn vectors_after(
        &self,
        _owner: &MemoryOwner,
        _embedder: &EmbedderId,
        after: &RowPosition,
        limit: u32,
    ) -> Result<Vec<VectorRow>, StoreError> {
        let mut database = self.database();
        database.pages += 1;
        let mut rows: Vec<VectorRow> = database.rows.iter().map(|(row, _)| row.clone()).collect();
        let position = |row: &VectorRow| (row.version, row.id.as_bytes().to_vec());
        rows.retain(|row| position(row) > (after.version, after.id.clone()));
        rows.sort_by_key(position);
        rows.truncate(limit as usize);
        Ok(rows)
    }

    async fn ids(&self, _owner: &MemoryOwner, _embedder: &EmbedderId) -> Result<HashSet<ContentHash>, StoreError> {
        let mut database = self.database();
        database.listings += 1;
        Ok(database.rows.iter().map(|(row, _)| row.id).collect())
    }

    async fn by_ids(
        &self,
        _owner: &MemoryOwner,
        _embedder: &EmbedderId,
        ids: &[ContentHash],
    ) -> Result<Vec<StoredMemory>, StoreError> {
        let mut database = self.database();
        database.candidates += ids.len();
        let found = database.rows.iter().filter(|(row, _)| ids.contains(&row.id));
        Ok(found.map(|(row, memory)| StoredMemory { memory: memory.clone(), vector: row.vector.clone() }).collect())
    }
}

/// A vector whose direction depends on a number.
fn direction(number: usize) -> UnitVector {
    let angle = number as f32 * 0.37;
    UnitVector::normalized(vec![angle.cos(), angle.sin(), 0.1]).unwrap()
}

fn matrices() -> Matrices {
    let matrices = Matrices::default();
    matrices.set_bytes_max(CACHE_BYTES);
    matrices
}

/// The texts of the matches.
async fn find(rows: &Rows, matrices: &Matrices, vector: &UnitVector, limit: usize) -> Vec<String> {
    let owner = MemoryOwner { tenant: TenantId::new("acme").unwrap(), agent: AgentId::new("writer").unwrap() };
    let query = VectorQuery { vector, embedder: &EmbedderId::hashed(), limit, min_similarity: -1.0 };
    let found = recall(rows, matrices, &owner, query, NOW).await.unwrap();
    found.into_iter().map(|found| found.memory.text).collect()
}

#[tokio::test]
async fn of_many_memories_with_one_vector_only_as_many_are_read_as_are_found() {
    let (rows, matrices) = (Rows::default(), matrices());
    rows.add(0..200, |_| direction(1));
    rows.add(200..220, direction);
    assert_eq!(find(&rows, &matrices, &direction(1), 3).await, ["199", "198", "197"]);
    assert!(rows.database().candidates < 20, "{}", rows.database().candidates);
    (197..200).for_each(|number| rows.delete(number));
    assert_eq!(find(&rows, &matrices, &direction(1), 3).await, ["196", "195", "194"]);
}

#[tokio::test]
async fn a_memory_that_is_missing_is_dropped_without_all_being_listed() {
    let (rows, matrices) = (Rows::default(), matrices());
    rows.add(0..50, direction);
    assert_eq!(find(&rows, &matrices, &direction(7), 1).await, ["7"]);
    rows.delete(7);
    assert_ne!(find(&rows, &matrices, &direction(7), 1).await, ["7"]);
    assert_eq!(rows.database().listings, 0);
    rows.add(7..8, direction);
    assert_eq!(find(&rows, &matrices, &direction(7), 1).await, ["7"], "it was added again");
    (0..50).for_each(|number| rows.delete(number));
    assert_eq!(find(&rows, &matrices, &direction(7), 3).await, Vec::<String>::new());
    assert_eq!(rows.database().listings, 1, "many are missing");
}

#[tokio::test]
async fn a_database_that_was_restored_is_read_again() {
    let (rows, matrices) = (Rows::default(), matrices());
    for number in 0..10 {
        rows.add(number..number + 1, direction);
    }
    assert_eq!(find(&rows, &matrices, &direction(9), 1).await, ["9"]);
    // The backup has the first three writes, and then there are others.
    rows.database().rows.truncate(3);
    rows.database().version = 3;
    rows.add(100..101, direction);
    assert_eq!(find(&rows, &matrices, &direction(100), 1).await, ["100"]);
    let mut all = find(&rows, &matrices, &direction(0), 50).await;
    all.sort();
    assert_eq!(all, ["0", "1", "100", "2"]);
}

#[tokio::test]
async fn an_owner_that_grows_past_the_bound_is_searched_without_memory() {
    let (rows, matrices) = (Rows::default(), matrices());
    rows.add(0..10, direction);
    assert_eq!(find(&rows, &matrices, &direction(7), 1).await, ["7"]);
    rows.add(10..1_000, |number| direction(number % 10 + 20));
    let pages = rows.database().pages;
    for _ in 0..2 {
        assert_eq!(find(&rows, &matrices, &direction(7), 1).await, ["7"]);
    }
    assert!(rows.database().pages > pages + 2, "each search reads all");
    matrices.set_bytes_max(CACHE_BYTES * 100);
    assert_eq!(find(&rows, &matrices, &direction(7), 1).await, ["7"]);
    let pages = rows.database().pages;
    assert_eq!(find(&rows, &matrices, &direction(7), 1).await, ["7"]);
    assert_eq!(rows.database().pages, pages, "now they are in memory");
}

#[test]
fn a_page_has_a_bounded_number_of_bytes() {
    assert_eq!(page_rows(3), 2_000);
    assert_eq!(page_rows(1_536), 341);
    assert_eq!(page_rows(8_192), 64);
    assert!(page_rows(usize::MAX) >= 1 && page_rows(0) >= 1);
}
