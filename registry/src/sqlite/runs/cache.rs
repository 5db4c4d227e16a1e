//! The writer's cache of run records, so that a run that is being written is read once.

use std::collections::HashMap;

use greenroom_protocol::RunId;
use rusqlite::Connection;

use super::row::{decode_record, select_records};
use crate::error::StoreError;
use crate::runs::RunRecord;
use crate::runs::leases::Leases;
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
    /// Runs that were looked up since the last commit.
    looked_up: Vec<RunId>,
    /// Runs that ended since the last commit.
    ended: Vec<RunId>,
    last_number: i64,
}

impl RunRecordCache {
    /// Reads the number of the newest run, and adds the unfinished ones to the leases as runs without an owner.
    pub(in crate::sqlite) fn load(conn: &Connection, leases: &Leases) -> Result<Self, StoreError> {
        leases.add_unclaimed(select(conn, "SELECT number FROM runs WHERE ended = 0", [], |row| row.number("number"))?);
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
                    Some((number, record)) => Lookup::Found(CachedRecord { number, record }),
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

    /// After a commit: drops runs that ended, which are rarely written again, missing runs, which may be
    /// created, and unreadable ones, which may be readable again.
    pub(in crate::sqlite) fn on_committed(&mut self) {
        for run in self.ended.drain(..) {
            self.records.remove(&run);
        }
        for run in self.looked_up.drain(..) {
            if self.records.get(&run).is_some_and(|lookup| !matches!(lookup, Lookup::Found(_))) {
                self.records.remove(&run);
            }
        }
        if self.records.len() > CACHED_RECORDS_MAX {
            self.records.clear();
        }
    }

    /// Drops a run that is deleted.
    pub(super) fn forget(&mut self, run: &RunId) {
        self.records.remove(run);
    }

    /// Drops everything after a commit that failed, because only the records on the disk are valid.
    pub(in crate::sqlite) fn clear(&mut self) {
        self.records.clear();
        self.looked_up.clear();
        self.ended.clear();
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

    /// Returns the number of the next new run.
    pub(in crate::sqlite) const fn next_number(&mut self) -> i64 {
        self.last_number += 1;
        self.last_number
    }

    /// Adds a new run.
    pub(in crate::sqlite) fn insert(&mut self, number: i64, record: RunRecord) {
        self.records.insert(record.run.clone(), Lookup::Found(CachedRecord { number, record }));
    }

    /// Marks a run as ended, so that it is dropped once the commit is durable.
    pub(in crate::sqlite) fn mark_ended(&mut self, run: RunId) {
        self.ended.push(run);
    }
}
