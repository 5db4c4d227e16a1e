//! The vectors of one owner in memory, as numbers of 16 bits: a scan of 100,000 of them reads half the memory that the
//! stored numbers would need, which is what its time consists of. The scan finds candidates. Whoever reads their stored
//! vectors has the exact matches, because the difference between both similarities is bounded.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use greenroom_protocol as protocol;
use protocol::{ContentHash, Timestamp};

use super::vector::{UnitVector, numbers_of_bytes};

/// The number that stands for 1.
const SCALE: f32 = 32_767.0;
/// Two vectors of this many numbers of 0.5 / [`SCALE`] too much or too little each: the error of their product, with a
/// margin for the rounding of the exact one.
const ERROR_MARGIN: f32 = 1.2;
/// Bytes of a row beside its numbers, in the list and in the index by id.
pub(crate) const ROW_BYTES: usize = 176;
/// Bytes of a matrix without rows.
pub(crate) const EMPTY_BYTES: usize = 1_024;
/// The share of its rows by which a matrix grows, as a divisor: doubling would take twice the memory.
const GROWTH_DIVISOR: usize = 8;
/// Rows by which a matrix grows at least.
const GROWTH_ROWS_MIN: usize = 64;
/// Rows that the database may have no longer, beside as many as it had when they were compared last.
const STALE_ROWS_MAX: usize = 4_096;
/// The score of a row that cannot match.
const NO_SCORE: i32 = i32::MIN;

/// A row as the database has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VectorRow {
    /// The id of the memory.
    pub(crate) id: ContentHash,
    /// The version of the owner with which it was written.
    pub(crate) version: i64,
    /// When it was remembered.
    pub(crate) at: Timestamp,
    /// When it expires.
    pub(crate) expires_at: Option<Timestamp>,
    /// The numbers as they are stored.
    pub(crate) vector: Vec<u8>,
}

/// What a scan needs to know of a row beside its numbers.
#[derive(Debug, Clone, Copy)]
struct RowInfo {
    id: ContentHash,
    at: Timestamp,
    expires_at: Option<Timestamp>,
    /// The same for rows whose stored vectors are equal. Its key is secret, so that no one can make it the same for others.
    vector_hash: u64,
}

/// What a scan looks for.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    /// The vector of the query.
    pub(crate) vector: UnitVector,
    /// The maximum number of matches.
    pub(crate) limit: usize,
    /// The minimum similarity of a match.
    pub(crate) min_similarity: f32,
    /// Memories that have expired by this time do not match.
    pub(crate) now: Timestamp,
}

/// The vectors of one owner and one embedder.
#[derive(Debug)]
pub(crate) struct Matrix {
    dimensions: usize,
    numbers: Vec<i16>,
    rows: Vec<RowInfo>,
    index: HashMap<ContentHash, usize>,
    hasher: RandomState,
    /// Its rows when it was compared with the database last.
    compared_rows: usize,
    /// The version of the owner up to which it has the rows; `None` while it has none.
    pub(crate) version: Option<i64>,
}

impl Matrix {
    /// A matrix without rows.
    pub(crate) fn new(dimensions: usize) -> Self {
        Self {
            dimensions,
            numbers: Vec::new(),
            rows: Vec::new(),
            index: HashMap::new(),
            hasher: RandomState::new(),
            compared_rows: 0,
            version: None,
        }
    }

    /// Drops all rows.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.dimensions);
    }

    /// The bytes of this many rows.
    pub(crate) fn bytes_of(rows: usize, dimensions: usize) -> usize {
        rows.saturating_mul(dimensions.saturating_mul(size_of::<i16>()).saturating_add(ROW_BYTES))
    }

    /// The bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let rows = self.numbers.capacity().checked_div(self.dimensions).unwrap_or(0);
        Self::bytes_of(rows.max(self.rows.capacity()), self.dimensions).saturating_add(EMPTY_BYTES)
    }

    /// How many numbers a scan reads.
    pub(crate) const fn size(&self) -> usize {
        self.numbers.len()
    }

    /// Adds a row, or replaces that of its id. A row of other dimensions never matches, and is left out.
    pub(crate) fn upsert(&mut self, row: &VectorRow) {
        let numbers: Vec<i16> = numbers_of_bytes(&row.vector).map(quantize).collect();
        if numbers.len() != self.dimensions || self.dimensions == 0 {
            return;
        }
        let vector_hash = self.hasher.hash_one(&row.vector);
        let info = RowInfo { id: row.id, at: row.at, expires_at: row.expires_at, vector_hash };
        if let Some(at) = self.index.get(&row.id).copied() {
            let from = at * self.dimensions;
            if let (Some(stored), Some(known)) =
                (self.numbers.get_mut(from..from + self.dimensions), self.rows.get_mut(at))
            {
                stored.copy_from_slice(&numbers);
                *known = info;
            }
            return;
        }
        if self.rows.len() == self.rows.capacity() {
            self.reserve((self.rows.len() / GROWTH_DIVISOR).max(GROWTH_ROWS_MIN));
        }
        self.index.insert(row.id, self.rows.len());
        self.rows.push(info);
        self.numbers.extend(numbers);
    }

    /// Reserves memory for this many further rows, and no more.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.rows.reserve_exact(rows);
        self.numbers.reserve_exact(rows.saturating_mul(self.dimensions));
    }

    /// Reserves memory for the rows of this many bytes, see [`Matrix::bytes_of`].
    pub(crate) fn reserve_bytes(&mut self, bytes: usize) {
        self.reserve(bytes.checked_div(Self::bytes_of(1, self.dimensions)).unwrap_or(0));
    }

    /// The number of rows.
    #[cfg(test)]
    pub(crate) const fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Records that the database has all rows, or had them a moment ago.
    pub(crate) const fn set_compared(&mut self) {
        self.compared_rows = self.rows.len();
    }

    /// True if so many rows were added since it was compared with the database that most may be stale.
    pub(crate) const fn needs_comparison(&self) -> bool {
        self.rows.len() > self.compared_rows.saturating_mul(2).saturating_add(STALE_ROWS_MAX)
    }

    /// Drops a row.
    pub(crate) fn remove(&mut self, id: &ContentHash) {
        let Some(last) = self.rows.len().checked_sub(1) else { return };
        let Some(at) = self.index.remove(id) else { return };
        self.rows.swap_remove(at);
        if let Some(moved) = self.rows.get(at) {
            self.index.insert(moved.id, at);
            let from = last * self.dimensions;
            self.numbers.copy_within(from..from + self.dimensions, at * self.dimensions);
        }
        self.numbers.truncate(last * self.dimensions);
    }

    /// Drops the rows that are not among these.
    pub(crate) fn retain(&mut self, live: &HashSet<ContentHash>) {
        let mut length = 0;
        for at in 0..self.rows.len() {
            let Some(info) = self.rows.get(at).copied() else { break };
            if !live.contains(&info.id) {
                self.index.remove(&info.id);
                continue;
            }
            if let Some(moved) = self.rows.get_mut(length) {
                *moved = info;
            }
            let from = at * self.dimensions;
            self.numbers.copy_within(from..from + self.dimensions, length * self.dimensions);
            self.index.insert(info.id, length);
            length += 1;
        }
        self.rows.truncate(length);
        self.numbers.truncate(length * self.dimensions);
        self.set_compared();
    }

    /// The memories among which all matches are, in no order. Of those with equal vectors, only the newest can match.
    pub(crate) fn candidates(&self, scan: &Scan) -> Vec<ContentHash> {
        if self.dimensions == 0 || scan.vector.dimensions() != self.dimensions || scan.limit == 0 {
            return Vec::new();
        }
        let query: Vec<i16> = scan.vector.as_slice().iter().copied().map(quantize).collect();
        let is_live = |info: &RowInfo| info.expires_at.is_none_or(|expires_at| expires_at > scan.now);
        let rows = self.numbers.chunks_exact(self.dimensions).zip(&self.rows);
        let scores: Vec<i32> =
            rows.map(|(numbers, info)| if is_live(info) { product(numbers, &query) } else { NO_SCORE }).collect();
        let error = self.error_max();
        let least = to_score(scan.min_similarity).saturating_sub(error);
        let threshold = match worst_of_best(&scores, scan.limit) {
            // The exact similarity of the worst of them may be less by one error, and that of another row more.
            Some(score) => score.saturating_sub(error.saturating_mul(2)).max(least),
            None => least,
        };
        let found = self.rows.iter().zip(scores).filter(|(_, score)| *score >= threshold && *score != NO_SCORE);
        let mut found: Vec<RowInfo> = found.map(|(info, _)| *info).collect();
        if found.len() > scan.limit {
            retain_newest_of_equal(&mut found, scan.limit);
        }
        found.into_iter().map(|info| info.id).collect()
    }

    /// The largest difference between the score of a row and that of its exact similarity.
    fn error_max(&self) -> i32 {
        let dimensions = u16::try_from(self.dimensions).unwrap_or(u16::MAX);
        (ERROR_MARGIN * f32::from(dimensions).sqrt() * SCALE) as i32
    }
}

/// Drops rows beside which there are `limit` newer ones with the same vector.
fn retain_newest_of_equal(rows: &mut Vec<RowInfo>, limit: usize) {
    rows.sort_unstable_by_key(|row| Reverse((row.at, row.id)));
    let mut newer: HashMap<u64, usize> = HashMap::new();
    rows.retain(|row| {
        let count = newer.entry(row.vector_hash).or_default();
        *count += 1;
        *count <= limit
    });
}

/// The least score of the `limit` best ones; `None` if there are not so many.
fn worst_of_best(scores: &[i32], limit: usize) -> Option<i32> {
    let position = limit.checked_sub(1).filter(|position| *position < scores.len())?;
    let mut sorted = scores.to_vec();
    let (_, worst, _) = sorted.select_nth_unstable_by(position, |one, other| other.cmp(one));
    Some(*worst)
}

fn quantize(number: f32) -> i16 {
    // A conversion of a float saturates.
    (number * SCALE).round() as i16
}

/// The score of a similarity.
fn to_score(similarity: f32) -> i32 {
    (similarity.clamp(-1.0, 1.0) * SCALE * SCALE) as i32
}

/// The score of two vectors. That of vectors of length one does not overflow.
fn product(one: &[i16], other: &[i16]) -> i32 {
    one.iter().zip(other).fold(0_i32, |sum, (a, b)| sum.wrapping_add(i32::from(*a) * i32::from(*b)))
}

#[cfg(test)]
mod tests;
