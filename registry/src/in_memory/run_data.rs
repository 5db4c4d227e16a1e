//! The data of the in-memory runs and idempotency keys, which their two stores share.

use std::collections::{BTreeMap, HashMap, HashSet};

use greenroom_protocol as protocol;
use protocol::{ContentHash, Reply, RunId, Timestamp};

use crate::artifacts::hash_scan::HashScanner;
use crate::error::StoreError;
use crate::idempotency::{KeyStatus, StoredKey};
use crate::journal::JournalRecord;
use crate::runs::RunRecord;
use crate::runs::leases::RunNumber;

/// The request that used a key, and its outcome.
#[derive(Debug, Clone)]
pub(super) struct KeyUse {
    pub(super) request_hash: ContentHash,
    pub(super) run: Option<RunId>,
    pub(super) reply: Option<Reply>,
    pub(super) at: Timestamp,
}

impl KeyUse {
    /// Returns the status of the key for a request with this hash.
    pub(super) fn status_for(&self, request_hash: &ContentHash) -> KeyStatus {
        if self.request_hash != *request_hash {
            return KeyStatus::Conflict;
        }
        if let Some(run) = &self.run {
            return KeyStatus::RunStarted(run.clone());
        }
        self.reply.clone().map_or(KeyStatus::InProgress, |reply| KeyStatus::Completed(Box::new(reply)))
    }
}

/// A run and its journal.
#[derive(Debug)]
pub(super) struct StoredRun {
    pub(super) record: RunRecord,
    pub(super) journal: Vec<JournalRecord>,
    /// The idempotency key that names it.
    key: Option<StoredKey>,
}

/// All runs in the order of their creation, and the idempotency keys.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) runs: BTreeMap<u64, StoredRun>,
    pub(super) numbers: HashMap<RunId, u64>,
    last: u64,
    pub(super) keys: HashMap<StoredKey, KeyUse>,
}

impl Runs {
    /// Scans every text that may reference an artifact.
    pub(super) fn scan_hashes(&self, scanner: &mut HashScanner) -> Result<(), StoreError> {
        for entry in self.runs.values().flat_map(|stored| &stored.journal) {
            scanner.scan(&serde_json::to_vec(&entry.entry)?);
        }
        for reply in self.keys.values().filter_map(|key_use| key_use.reply.as_ref()) {
            scanner.scan(&serde_json::to_vec(reply)?);
        }
        Ok(())
    }

    pub(super) fn find(&self, run: &RunId) -> Option<&StoredRun> {
        self.runs.get(self.numbers.get(run)?)
    }

    /// A run with its number.
    pub(super) fn find_mut(&mut self, run: &RunId) -> Option<(RunNumber, &mut StoredRun)> {
        let number = *self.numbers.get(run)?;
        Some((number, self.runs.get_mut(&number)?))
    }

    /// The runs of a tree that have not ended, in the order of their creation.
    pub(super) fn open_runs(&self, root: &RunId) -> impl Iterator<Item = &RunRecord> {
        let records = self.runs.values().map(|stored| &stored.record);
        records.filter(move |record| record.root == *root && !record.status.is_terminal())
    }

    /// As [`Runs::open_runs`], to change them.
    pub(super) fn open_runs_mut(&mut self, root: &RunId) -> impl Iterator<Item = &mut RunRecord> {
        let records = self.runs.values_mut().map(|stored| &mut stored.record);
        records.filter(move |record| record.root == *root && !record.status.is_terminal())
    }

    /// The roots of the trees with a run that has not ended.
    pub(super) fn open_roots(&self) -> HashSet<RunId> {
        let open = self.runs.values().map(|stored| &stored.record).filter(|record| !record.status.is_terminal());
        open.map(|record| record.root.clone()).collect()
    }

    /// Marks a run, and the runs that called it, as runs with personal data.
    fn mark_personal_data(&mut self, run: Option<RunId>) {
        let mut next = run;
        while let Some(run) = next {
            let Some((_, stored)) = self.find_mut(&run) else { return };
            // Its callers are marked already.
            if std::mem::replace(&mut stored.record.personal_data, true) {
                return;
            }
            next = stored.record.parent.clone();
        }
    }

    /// Releases the key of a run that has ended by a failure which may pass.
    pub(super) fn release_key(&mut self, run: &RunId) {
        if let Some(key) = self.find_mut(run).and_then(|(_, stored)| stored.key.take()) {
            self.keys.remove(&key);
        }
    }

    /// Inserts a new run with its key, and returns its number.
    pub(super) fn insert(&mut self, record: RunRecord, key: Option<StoredKey>, now: Timestamp) -> RunNumber {
        if record.personal_data {
            self.mark_personal_data(record.parent.clone());
        }
        if let Some(key) = &key {
            let (request_hash, run) = (record.request_hash, Some(record.run.clone()));
            self.keys.insert(key.clone(), KeyUse { request_hash, run, reply: None, at: now });
        }
        self.last = self.last.saturating_add(1);
        self.numbers.insert(record.run.clone(), self.last);
        self.runs.insert(self.last, StoredRun { record, journal: Vec::new(), key });
        self.last
    }

    /// Stores a reply under its key, or releases the key. A key that is not reserved, or that has a reply, does
    /// not change.
    pub(super) fn complete_key(&mut self, key: &StoredKey, reply: Option<&Reply>, now: Timestamp) {
        let reserved = self.keys.get_mut(key).filter(|key_use| key_use.run.is_none() && key_use.reply.is_none());
        match (reserved, reply) {
            (Some(key_use), Some(reply)) => (key_use.reply, key_use.at) = (Some(reply.clone()), now),
            (Some(_), None) => drop(self.keys.remove(key)),
            (None, _) => {}
        }
    }
}
