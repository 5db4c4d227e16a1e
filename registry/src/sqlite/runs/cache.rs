//! The writer's cache of run records, so that a run that is being written is read once.

use std::collections::{BTreeMap, HashMap, HashSet};

use greenroom_protocol::RunId;
use rusqlite::Connection;

use super::row::select_records;
use crate::error::StoreError;
use crate::runs::decode::decode_record;
use crate::runs::leases::Leases;
use crate::runs::{Fence, RunRecord};
use crate::sqlite::columns::{Columns as _, select};

/// Records that are cached between commits.
const CACHED_RECORDS_MAX: usize = 100_000;

/// The record of an existing run, with its number, which the rows of its journal refer to.
pub(in crate::sqlite) struct CachedRecord {
    pub(in crate::sqlite) number: i64,
    pub(in crate::sqlite) record: RunRecord,
}

/// What is known of a run.
enum Lookup {
    Found(CachedRecord),
    Missing,
    /// The units that need the run get this error; the others of their batch are not affected.
    Unreadable(StoreError),
}

/// The records of the runs that are being written.
#[derive(Default)]
pub(in crate::sqlite) struct RunRecordCache {
    records: HashMap<RunId, Lookup>,
    /// Of each root the cached runs below it, by their numbers.
    called: HashMap<RunId, BTreeMap<i64, RunId>>,
    /// Runs that were looked up since the last commit.
    looked_up: Vec<RunId>,
    /// Runs that ended since the last commit.
    ended: Vec<RunId>,
    /// Roots of trees that have failed and made no progress since.
    failed: HashSet<RunId>,
    /// Of these, roots of trees that have made progress since the last commit.
    progressed: Vec<RunId>,
    last_number: i64,
}

impl RunRecordCache {
    /// Reads the number of the newest run, and adds the unfinished trees to the leases as trees without an owner.
    pub(in crate::sqlite) fn load(conn: &Connection, leases: &Leases) -> Result<Self, StoreError> {
        let sql = "SELECT number FROM runs WHERE run IN (SELECT root FROM runs WHERE ended = 0)";
        leases.add_unclaimed(select(conn, sql, [], |row| row.number("number"))?);
        let sql = "SELECT COALESCE(MAX(number), 0) AS last FROM runs";
        let last_number = select(conn, sql, [], |row| row.int("last"))?.first().copied().unwrap_or_default();
        Ok(Self { last_number, ..Self::default() })
    }

    /// True if it is known whether the run exists.
    pub(in crate::sqlite) fn contains(&self, run: &RunId) -> bool {
        self.records.contains_key(run)
    }

    /// Looks up runs that the cache does not contain.
    pub(in crate::sqlite) fn prefetch(&mut self, conn: &Connection, runs: Vec<RunId>) {
        for run in runs {
            let lookup = match select(conn, select_records!("WHERE run = ?"), [run.as_str()], |row| decode_record(row))
            {
                Ok(rows) => match rows.into_iter().next() {
                    Some((number, record)) => {
                        self.insert(number, record);
                        continue;
                    }
                    None => Lookup::Missing,
                },
                Err(error) => {
                    tracing::error!(run.id = %run, error = %error, "the record of a run cannot be read");
                    Lookup::Unreadable(error)
                }
            };
            self.looked_up.push(run.clone());
            self.records.insert(run, lookup);
        }
    }

    /// Reads the runs of these trees that have not ended and that the cache does not contain. If that fails, the units
    /// that need the tree get the error, because its root is unreadable.
    pub(in crate::sqlite) fn prefetch_trees(&mut self, conn: &Connection, roots: Vec<RunId>) {
        for root in roots {
            let sql = select_records!("WHERE root = ? AND ended = 0");
            match select(conn, sql, [root.as_str()], |row| decode_record(row)) {
                Ok(rows) => {
                    for (number, record) in rows {
                        if self.find_mut(&record.run).is_none() {
                            self.insert(number, record);
                        }
                    }
                }
                Err(error) => {
                    tracing::error!(run.id = %root, error = %error, "the records of a tree cannot be read");
                    self.looked_up.push(root.clone());
                    self.records.insert(root, Lookup::Unreadable(error));
                }
            }
        }
    }

    /// After a commit: drops runs that ended, which are rarely written again, and returns them; drops missing runs, which
    /// may be created, and unreadable ones, which may be readable again.
    pub(in crate::sqlite) fn on_committed(&mut self) -> Vec<RunId> {
        let ended = std::mem::take(&mut self.ended);
        ended.iter().for_each(|run| self.forget(run));
        self.progressed.clear();
        for run in self.looked_up.drain(..) {
            if self.records.get(&run).is_some_and(|lookup| !matches!(lookup, Lookup::Found(_))) {
                self.records.remove(&run);
            }
        }
        if self.records.len() > CACHED_RECORDS_MAX {
            self.records.clear();
            self.called.clear();
        }
        ended
    }

    /// Drops a run that is deleted, or that has ended.
    pub(super) fn forget(&mut self, run: &RunId) {
        let Some(Lookup::Found(CachedRecord { number, record })) = self.records.remove(run) else { return };
        if let Some(called) = self.called.get_mut(&record.root) {
            called.remove(&number);
            if called.is_empty() {
                self.called.remove(&record.root);
            }
        }
    }

    /// Drops everything after a commit that failed, because only the records on the disk are valid.
    pub(in crate::sqlite) fn clear(&mut self) {
        self.records.clear();
        self.called.clear();
        self.looked_up.clear();
        self.ended.clear();
        self.failed.extend(self.progressed.drain(..));
    }

    /// Returns the record of a prefetched run, if the run exists.
    pub(in crate::sqlite) fn find(&self, run: &RunId) -> Result<Option<&CachedRecord>, StoreError> {
        match self.records.get(run) {
            Some(Lookup::Found(record)) => Ok(Some(record)),
            Some(Lookup::Unreadable(error)) => Err(error.clone()),
            Some(Lookup::Missing) | None => Ok(None),
        }
    }

    /// Returns the record of a run that was found.
    pub(in crate::sqlite) fn find_mut(&mut self, run: &RunId) -> Option<&mut CachedRecord> {
        match self.records.get_mut(run) {
            Some(Lookup::Found(record)) => Some(record),
            Some(Lookup::Missing | Lookup::Unreadable(_)) | None => None,
        }
    }

    /// The runs of a prefetched tree that have not ended, in the order of their creation.
    fn open_runs<'c>(&'c self, root: &'c RunId) -> impl Iterator<Item = &'c RunId> {
        let called = self.called.get(root).into_iter().flat_map(BTreeMap::values);
        let is_open =
            move |run: &&RunId| matches!(self.find(run), Ok(Some(cached)) if !cached.record.status.is_terminal());
        std::iter::once(root).chain(called).filter(is_open)
    }

    /// True if a run of a prefetched tree has not ended.
    pub(in crate::sqlite) fn has_open_run(&self, root: &RunId) -> bool {
        self.open_runs(root).next().is_some()
    }

    /// Transfers the runs of a prefetched tree that have not ended to the owner of its root, and returns them.
    pub(in crate::sqlite) fn transfer_tree(&mut self, root: &RunRecord) -> Vec<RunRecord> {
        if root.failures > 0 {
            self.failed.insert(root.run.clone());
        }
        let runs: Vec<_> = self.open_runs(&root.run).cloned().collect();
        let transfer = |run: RunId| {
            let cached = self.find_mut(&run)?;
            cached.record.follow(root);
            Some(cached.record.clone())
        };
        runs.into_iter().filter_map(transfer).collect()
    }

    /// Counts a failure of the tree of this owner, and returns the number; `None` if the tree has another owner.
    pub(in crate::sqlite) fn on_failed(&mut self, root: &RunId, fence: Fence) -> Option<u32> {
        let cached = self.find_mut(root).filter(|cached| cached.record.fence == fence)?;
        let failures = cached.record.failures.saturating_add(1);
        cached.record.failures = failures;
        self.failed.insert(root.clone());
        Some(failures)
    }

    /// Records that a tree has made progress. True if it is the first since the tree failed.
    pub(in crate::sqlite) fn on_progress(&mut self, root: &RunId) -> bool {
        if self.failed.is_empty() || !self.failed.remove(root) {
            return false;
        }
        self.progressed.push(root.clone());
        if let Some(cached) = self.find_mut(root) {
            cached.record.failures = 0;
        }
        true
    }

    /// Returns the number of the next new run.
    pub(in crate::sqlite) const fn next_number(&mut self) -> i64 {
        self.last_number += 1;
        self.last_number
    }

    /// Adds a new run.
    pub(in crate::sqlite) fn insert(&mut self, number: i64, record: RunRecord) {
        if !record.is_root() {
            self.called.entry(record.root.clone()).or_default().insert(number, record.run.clone());
        }
        self.records.insert(record.run.clone(), Lookup::Found(CachedRecord { number, record }));
    }

    /// Marks a run as ended, so that it is dropped once the commit is durable.
    pub(in crate::sqlite) fn mark_ended(&mut self, run: RunId) {
        self.ended.push(run);
    }
}
