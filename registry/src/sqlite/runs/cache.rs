//! The writer's cache of run records, so that a run that is being written is read once.

use std::collections::{HashMap, HashSet};

use greenroom_protocol::RunId;
use rusqlite::Connection;

use super::row::{decode_record, select_records};
use crate::error::StoreError;
use crate::runs::RunRecord;
use crate::sqlite::columns::{Columns as _, select};

/// Records that are cached between commits.
const CACHED_RECORDS_MAX: usize = 100_000;

/// The record of an existing run, with its number, which the rows of its journal refer to.
pub(super) struct CachedRecord {
    pub(super) number: i64,
    pub(super) record: RunRecord,
}

/// The records of the runs that are being written.
#[derive(Default)]
pub(in crate::sqlite) struct RunRecordCache {
    /// `None` for a run that does not exist.
    records: HashMap<RunId, Option<CachedRecord>>,
    /// Runs that were looked up since the last commit.
    looked_up: Vec<RunId>,
    /// Runs that ended since the last commit.
    ended: Vec<RunId>,
    /// Roots of trees that have failed and made no progress since.
    failed: HashSet<RunId>,
    last_number: i64,
}

impl RunRecordCache {
    pub(in crate::sqlite) fn load(conn: &Connection) -> Result<Self, StoreError> {
        let sql = "SELECT COALESCE(MAX(number), 0) AS last FROM runs";
        let last_number = select(conn, sql, [], |row| row.int("last"))?.first().copied().unwrap_or_default();
        Ok(Self { last_number, ..Self::default() })
    }

    /// True if it is known whether the run exists.
    pub(in crate::sqlite) fn contains(&self, run: &RunId) -> bool {
        self.records.contains_key(run)
    }

    /// Looks up runs that the cache does not contain.
    pub(in crate::sqlite) fn prefetch(&mut self, conn: &Connection, runs: Vec<RunId>) -> Result<(), StoreError> {
        let mut records = Vec::with_capacity(runs.len());
        for run in runs {
            let rows = select(conn, select_records!("WHERE run = ?"), [run.as_str()], |row| decode_record(row))?;
            let record = rows.into_iter().next().map(|(number, record)| CachedRecord { number, record });
            records.push((run, record));
        }
        // Only after the last read: a run that could not be read must not pass for a missing one.
        self.looked_up.extend(records.iter().map(|(run, _)| run.clone()));
        self.records.extend(records);
        Ok(())
    }

    /// Reads the runs of these trees that have not ended and that the cache does not contain.
    pub(in crate::sqlite) fn prefetch_trees(&mut self, conn: &Connection, roots: &[RunId]) -> Result<(), StoreError> {
        for root in roots {
            let sql = select_records!("WHERE root = ? AND ended = 0");
            for (number, record) in select(conn, sql, [root.as_str()], |row| decode_record(row))? {
                // The cached record may have changed since the last commit of this batch.
                if !self.contains(&record.run) {
                    self.insert(number, record);
                }
            }
        }
        Ok(())
    }

    /// After a commit: drops runs that ended, which are rarely written again, and missing runs, which
    /// may be created.
    pub(in crate::sqlite) fn on_committed(&mut self) {
        for run in self.ended.drain(..) {
            self.records.remove(&run);
        }
        for run in self.looked_up.drain(..) {
            if self.records.get(&run).is_some_and(Option::is_none) {
                self.records.remove(&run);
            }
        }
        if self.records.len() > CACHED_RECORDS_MAX {
            self.records.clear();
        }
    }

    /// Drops everything after a commit that failed, because only the records on the disk are valid.
    pub(in crate::sqlite) fn clear(&mut self) {
        self.records.clear();
        self.looked_up.clear();
        self.ended.clear();
    }

    /// Returns the record of a prefetched run, if the run exists.
    pub(super) fn find_mut(&mut self, run: &RunId) -> Option<&mut CachedRecord> {
        self.records.get_mut(run)?.as_mut()
    }

    /// The runs of a prefetched tree that have not ended, in the order of their creation.
    pub(super) fn tree_mut(&mut self, root: &RunId) -> Vec<&mut CachedRecord> {
        let is_open = |cached: &&mut CachedRecord| cached.record.root == *root && !cached.record.status.is_terminal();
        let mut tree: Vec<_> = self.records.values_mut().flatten().filter(is_open).collect();
        tree.sort_by_key(|cached| cached.number);
        tree
    }

    /// Remembers that a tree has failed, until its next progress.
    pub(super) fn mark_failed(&mut self, root: RunId) {
        self.failed.insert(root);
    }

    /// Records that a tree has made progress. True if it is the first since the tree failed.
    pub(super) fn on_progress(&mut self, root: &RunId) -> bool {
        let is_first = !self.failed.is_empty() && self.failed.remove(root);
        if let Some(cached) = self.find_mut(root).filter(|_| is_first) {
            cached.record.failures = 0;
        }
        is_first
    }

    /// Returns the number of the next new run.
    pub(super) const fn next_number(&mut self) -> i64 {
        self.last_number += 1;
        self.last_number
    }

    /// Adds a new run.
    pub(super) fn insert(&mut self, number: i64, record: RunRecord) {
        self.records.insert(record.run.clone(), Some(CachedRecord { number, record }));
    }

    /// Marks a run as ended, so that it is dropped once the commit is durable.
    pub(super) fn mark_ended(&mut self, run: RunId) {
        self.ended.push(run);
    }
}
