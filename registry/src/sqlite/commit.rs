//! One commit that the writer is preparing: its statements, and the callbacks for when it is durable.

use protocol::RunId;

use greenroom_protocol as protocol;

use crate::error::StoreError;
use crate::group_commit::ReplySender;
use crate::sqlite::audit::chain::ChainChange;
use crate::sqlite::idempotency::key_row::KeyRows;
use crate::sqlite::statement_batch::StatementBatch;

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
    /// Runs whose journal changes: their watchers are notified once the commit is durable.
    pub(super) journal_notify: Vec<RunId>,
    /// Contexts that change, likewise.
    pub(super) context_notify: Vec<RunId>,
    /// The caller that closes the store, if it is among the callers of this commit.
    pub(super) close: Option<ReplySender<()>>,
    on_committed: Vec<OnCommitted>,
}

impl Commit {
    /// Replies to a caller once the commit is durable, or rejects it if the commit fails.
    pub(super) fn reply<T, E>(&mut self, reply: ReplySender<T, E>, value: T)
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.on_committed(move |failure| reply.send(failure.map_or(Ok(value), |error| Err(error.clone().into()))));
    }

    /// Calls `callback` once the commit is durable or has failed.
    pub(super) fn on_committed(&mut self, callback: impl FnOnce(Option<&StoreError>) + Send + 'static) {
        self.on_committed.push(Box::new(callback));
    }

    /// Runs the callbacks in the order of their registration.
    pub(super) fn finish(self, failure: Option<&StoreError>) {
        self.on_committed.into_iter().for_each(|callback| callback(failure));
    }
}
