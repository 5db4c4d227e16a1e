//! One commit that the writer is preparing: its statements, and what follows once it is durable.

use greenroom_protocol as protocol;
use protocol::{RunId, Timestamp};

use crate::core::{Receipts, UnitError};
use crate::error::StoreError;
use crate::group_commit::ReplySender;
use crate::idempotency::StoredKey;
use crate::runs::Fence;
use crate::runs::leases::{Leases, RunNumber};
use crate::sqlite::audit::chain::ChainChange;
use crate::sqlite::idempotency::key_row::{KeyRow, KeyRows};
use crate::sqlite::statement_batch::StatementBatch;

/// What a commit means for the lease of a tree.
pub(super) enum LeaseChange {
    /// The root was created, and its lease granted.
    Created { root: RunId, number: RunNumber },
    /// A run that another one calls was created, and counted.
    Called { root: RunId, fence: Fence },
    /// The tree was claimed, and its lease granted.
    Claimed { root: RunId, fence: Fence, at: Timestamp },
    /// The owner has appended entries to one of its runs.
    Appended { root: RunId, fence: Fence, at: Timestamp },
    /// The owner has ended one of its runs, which is not counted any more.
    Ended { root: RunId, fence: Fence, at: Timestamp },
}

impl LeaseChange {
    /// Follows a commit that is durable.
    fn apply(self, leases: &Leases) {
        match self {
            Self::Created { .. } | Self::Called { .. } | Self::Claimed { .. } => {}
            Self::Appended { root, fence, at } => {
                leases.on_written(&root, fence);
                renew(&root, fence, at, leases);
            }
            Self::Ended { root, fence, at } => {
                leases.on_written(&root, fence);
                renew(&root, fence, at, leases);
                leases.forget_ended(&root, fence);
            }
        }
    }

    /// Follows a commit that has failed. Later changes are rolled back before earlier ones.
    fn roll_back(self, leases: &Leases) {
        match self {
            Self::Created { root, number } => leases.forget(&root, number),
            Self::Called { root, fence } => leases.remove_run(&root, fence),
            Self::Claimed { root, fence, at } => leases.release(&root, fence, at),
            Self::Appended { root, fence, at } => renew(&root, fence, at, leases),
            Self::Ended { root, fence, at } => {
                leases.add_run(&root, fence);
                renew(&root, fence, at, leases);
            }
        }
    }
}

/// An owner whose lease expired keeps the tree as long as no other owner has claimed it.
fn renew(root: &RunId, fence: Fence, at: Timestamp, leases: &Leases) {
    let _ = leases.renew(root, fence, None, at);
}

/// Runs after the commit; its argument is the failure, or none if the commit is durable.
type OnCommitted = Box<dyn FnOnce(Option<&StoreError>) + Send>;

/// One commit that the writer is preparing.
#[derive(Default)]
pub(super) struct Commit {
    pub(super) statements: StatementBatch,
    /// The entries that this commit appends to the audit.
    pub(super) audit: ChainChange,
    /// The idempotency keys that its commands use, as they are after the commands so far.
    pub(super) keys: KeyRows,
    /// The leases of the trees whose runs its units change.
    pub(super) leases: Vec<LeaseChange>,
    /// Runs whose journal changes: their watchers are notified once the commit is durable.
    pub(super) journal_notify: Vec<RunId>,
    /// The caller that closes the store, if it is among the callers of this commit.
    pub(super) close: Option<ReplySender<()>>,
    unit_replies: Vec<(ReplySender<Receipts, UnitError>, Result<Receipts, UnitError>)>,
    on_committed: Vec<OnCommitted>,
}

impl Commit {
    /// A commit of this many commands.
    pub(super) fn for_batch(length: usize) -> Self {
        Self { leases: Vec::with_capacity(length), unit_replies: Vec::with_capacity(length), ..Self::default() }
    }

    /// Replies to a caller once the commit is durable, or rejects it if the commit fails.
    pub(super) fn reply<T, E>(&mut self, reply: ReplySender<T, E>, value: T)
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.on_committed(move |failure| reply.send(failure.map_or(Ok(value), |error| Err(error.clone().into()))));
    }

    /// Replies to the caller of a unit once the commit is durable, also if the unit is not taken: what it conflicts with
    /// may be a part of the same commit.
    pub(super) fn reply_to_unit(
        &mut self,
        reply: ReplySender<Receipts, UnitError>,
        result: Result<Receipts, UnitError>,
    ) {
        self.unit_replies.push((reply, result));
    }

    /// The row of a prefetched key; `None` if the key does not exist.
    pub(super) fn find_key(&self, key: &StoredKey) -> Result<Option<&KeyRow>, StoreError> {
        match self.keys.get(key) {
            Some(Ok(row)) => Ok(row.as_ref()),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(None),
        }
    }

    /// Inserts a key, or stores its reply.
    pub(super) fn upsert_key(&mut self, key: StoredKey, row: KeyRow, at: Timestamp) {
        row.upsert(&key, at, &mut self.statements);
        self.keys.insert(key, Ok(Some(row)));
    }

    /// Deletes a key.
    pub(super) fn delete_key(&mut self, key: StoredKey) {
        let values = vec![key.0.as_str().into(), key.1.as_str().into()];
        self.statements.add("DELETE FROM idempotency_keys WHERE key = ? AND tenant = ?", values);
        self.keys.insert(key, Ok(None));
    }

    /// Releases the key of a run that has ended by a failure which may pass: the next request with it is executed.
    pub(super) fn release_key_of(&mut self, run: &RunId) {
        self.statements.add("DELETE FROM idempotency_keys WHERE run = ?", vec![run.as_str().into()]);
        for row in self.keys.values_mut() {
            if matches!(row, Ok(Some(found)) if found.run.as_ref() == Some(run)) {
                *row = Ok(None);
            }
        }
    }

    /// Calls `callback` once the commit is durable or has failed.
    pub(super) fn on_committed(&mut self, callback: impl FnOnce(Option<&StoreError>) + Send + 'static) {
        self.on_committed.push(Box::new(callback));
    }

    /// Renews or ends the leases, and replies to all callers.
    pub(super) fn finish(self, failure: Option<&StoreError>, leases: &Leases) {
        match failure {
            None => self.leases.into_iter().for_each(|change| change.apply(leases)),
            Some(_) => self.leases.into_iter().rev().for_each(|change| change.roll_back(leases)),
        }
        for (reply, result) in self.unit_replies {
            match failure {
                None => reply.send(result),
                Some(error) => {
                    if let Ok(receipts) = result {
                        receipts.void();
                    }
                    reply.send(Err(error.clone().into()));
                }
            }
        }
        self.on_committed.into_iter().for_each(|callback| callback(failure));
    }
}
