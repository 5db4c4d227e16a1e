//! The data of the in-memory runs and idempotency keys, which their two stores share.

use std::collections::{BTreeMap, HashMap};

use greenroom_protocol as protocol;
use protocol::{ContentHash, Reply, RunId, TenantId, Timestamp};

use crate::artifacts::hash_scan::HashScanner;
use crate::error::StoreError;
use crate::idempotency::KeyStatus;
use crate::journal::{JournalError, JournalRecord};
use crate::runs::{Created, DedupKey, NewRun, RunRecord};

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
}

/// All runs in the order of their creation, and the idempotency keys.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) runs: BTreeMap<u64, StoredRun>,
    pub(super) numbers: HashMap<RunId, u64>,
    last: u64,
    pub(super) keys: HashMap<(TenantId, String), KeyUse>,
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

    pub(super) fn find_mut(&mut self, run: &RunId) -> Option<&mut StoredRun> {
        self.runs.get_mut(self.numbers.get(run)?)
    }

    /// Marks a run, and the runs that called it, as runs with personal data.
    fn mark_personal_data(&mut self, run: Option<RunId>) {
        let mut next = run;
        while let Some(run) = next {
            let Some(stored) = self.find_mut(&run) else { return };
            // Its callers are marked already.
            if std::mem::replace(&mut stored.record.personal_data, true) {
                return;
            }
            next = stored.record.parent.clone();
        }
    }

    pub(super) fn create(
        &mut self,
        new: &NewRun,
        key: Option<&DedupKey>,
        now: Timestamp,
    ) -> Result<Created, JournalError> {
        let run = new.id();
        let key = key.map(|key| (new.tenant.clone(), key.to_stored()));
        if let Some(key_use) = key.as_ref().and_then(|key| self.keys.get(key)) {
            let is_same = key_use.request_hash == new.request_hash;
            return Ok(key_use.run.clone().filter(|_| is_same).map_or(Created::Conflict, Created::Existing));
        }
        if let Some(stored) = self.find(run) {
            return Ok(if stored.record.matches(new) { Created::Existing(run.clone()) } else { Created::Conflict });
        }
        if let (Some(fence), Some(parent)) = (new.tree_fence, &new.started.parent) {
            self.find(parent).ok_or(JournalError::Unknown)?.record.check_calls(fence)?;
        }
        let record = RunRecord::new(new, now);
        if record.personal_data {
            self.mark_personal_data(record.parent.clone());
        }
        let fence = record.fence;
        self.last = self.last.saturating_add(1);
        self.numbers.insert(run.clone(), self.last);
        self.runs.insert(self.last, StoredRun { record, journal: Vec::new() });
        if let Some(key) = key {
            let key_use = KeyUse { request_hash: new.request_hash, run: Some(run.clone()), reply: None, at: now };
            self.keys.insert(key, key_use);
        }
        Ok(Created::New(fence))
    }

    /// The runs of a tree that have not ended, in the order of their creation.
    pub(super) fn tree_mut(&mut self, root: &RunId) -> impl Iterator<Item = &mut RunRecord> {
        let records = self.runs.values_mut().map(|stored| &mut stored.record);
        records.filter(move |record| record.root == *root && !record.status.is_terminal())
    }
}
