//! A unit: the changes that become durable together.

use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::audit::{Closing, Event, Opening};
use protocol::journal::Entry;
use protocol::{ContentHash, PodId, Reply, RequestId, RunId, TenantId, Timestamp};

use crate::audit::OpenAuditEntry;
use crate::idempotency::ReservedKey;
use crate::journal::AppendPosition;
use crate::ledger::{ReservationRequest, ReserveTicket, Settled};
use crate::runs::{DedupKey, Fence, NewRun};

/// The change of one run, or of the ownership of one tree.
#[derive(Debug)]
pub(crate) enum RunChange<'u> {
    Create { run: NewRun, key: Option<&'u DedupKey>, entries: &'u [Entry] },
    Claim { root: &'u RunId, pod: &'u PodId, lease: Duration },
    Append { position: AppendPosition<'u>, entries: &'u [Entry] },
    Release { root: &'u RunId, fence: Fence },
    Fail { root: &'u RunId, fence: Fence, retry_at: Timestamp },
}

/// A key to reserve for a request.
#[derive(Debug)]
pub(crate) struct KeyRequest<'u> {
    pub(crate) tenant: &'u TenantId,
    pub(crate) key: &'u DedupKey,
    pub(crate) request_hash: &'u ContentHash,
    /// The request whose audit entry was opened before.
    pub(crate) request: Option<&'u RequestId>,
}

/// A reserved key with the reply of its request; without a reply, the key is released.
#[derive(Debug)]
pub(crate) struct KeyReply<'u> {
    pub(crate) key: &'u ReservedKey,
    pub(crate) reply: Option<&'u Reply>,
}

/// Changes that become durable together. It has at most one part of each kind, but any number of settlements.
#[derive(Debug)]
#[must_use = "a unit is written by `CoreStore::commit`"]
pub struct Unit<'u> {
    pub(crate) at: Timestamp,
    pub(crate) run: Option<RunChange<'u>>,
    pub(crate) key: Option<KeyRequest<'u>>,
    pub(crate) reserve: Option<ReservationRequest<'u>>,
    pub(crate) ticket: Option<ReserveTicket>,
    pub(crate) opening: Option<Opening>,
    pub(crate) event: Option<Event>,
    pub(crate) closing: Option<(OpenAuditEntry, Closing)>,
    pub(crate) settled: Vec<Settled>,
    pub(crate) key_reply: Option<KeyReply<'u>>,
    /// The tree that its opening belongs to.
    pub(crate) tree: Option<&'u RunId>,
    /// Its caller waits however long the store is away.
    pub(crate) outlasts_outage: bool,
}

impl<'u> Unit<'u> {
    /// An empty unit; `at` is the time of all its changes.
    pub const fn new(at: Timestamp) -> Self {
        Self {
            at,
            run: None,
            key: None,
            reserve: None,
            ticket: None,
            opening: None,
            event: None,
            closing: None,
            settled: Vec::new(),
            key_reply: None,
            tree: None,
            outlasts_outage: false,
        }
    }

    /// Whether its caller waits for its outcome however long the server of the store is away, because what it has in
    /// memory would be lost otherwise: it is a part of a run. While the server is away, such a unit does not fail, and
    /// the wait ends with the death of the pod or with the store. This concerns a store that pods share; others reply
    /// within [`crate::group_commit::COMMIT_WAIT_MAX`].
    pub const fn outlast_outage(mut self, outlasts_outage: bool) -> Self {
        self.outlasts_outage = outlasts_outage;
        self
    }

    /// Creates a run with its first entries; its creator owns it, unless it is created without an owner. The receipts have
    /// its fence.
    ///
    /// It is not taken if a request with the same key, or with the same run id, has created a run before:
    /// [`super::Conflict::Run`]. A run that another run calls is not taken if that run has ended, or if its tree has
    /// another owner.
    pub fn create(self, run: NewRun, key: Option<&'u DedupKey>, entries: &'u [Entry]) -> Self {
        Self { run: Some(RunChange::Create { run, key, entries }), ..self }
    }

    /// Claims a tree that has no owner, by its root. The receipts have the tree.
    ///
    /// It is not taken if the root does not exist, if no run of the tree is open, or if the tree has an owner. After a
    /// restart no tree has an owner, because one process owns the data directory.
    pub fn claim(self, root: &'u RunId, pod: &'u PodId, lease: Duration) -> Self {
        Self { run: Some(RunChange::Claim { root, pod, lease }), ..self }
    }

    /// Appends entries to the journal of a run, all or none, and updates the record of the run with them. The receipts
    /// have the [`crate::journal::Receipt`].
    ///
    /// It is not taken if the run has another owner, if the entries do not follow its last one, or if it has ended.
    pub fn append(self, position: AppendPosition<'u>, entries: &'u [Entry]) -> Self {
        Self { run: Some(RunChange::Append { position, entries }), ..self }
    }

    /// Ends the ownership of a tree after every earlier unit, so that it can be claimed at once. A release by an
    /// earlier owner does nothing.
    pub fn release(self, root: &'u RunId, fence: Fence) -> Self {
        Self { run: Some(RunChange::Release { root, fence }), ..self }
    }

    /// As [`Unit::release`], because the tree has failed: one of its actors did, or it could not be resumed. The
    /// failure is counted until one of the tree's runs makes progress. In a store that pods share, the tree is due again
    /// at `retry_at`.
    pub fn fail(self, root: &'u RunId, fence: Fence, retry_at: Timestamp) -> Self {
        Self { run: Some(RunChange::Fail { root, fence, retry_at }), ..self }
    }

    /// Reserves an idempotency key for a request. The receipts have the [`ReservedKey`].
    ///
    /// It is not taken if the key was used before: [`super::Conflict::Key`].
    pub const fn begin_key(mut self, tenant: &'u TenantId, key: &'u DedupKey, request_hash: &'u ContentHash) -> Self {
        self.key = Some(KeyRequest { tenant, key, request_hash, request: None });
        self
    }

    /// The request that its key is reserved for: a store with several writers writes the reservation with the opening of
    /// the audit entry of this request.
    pub const fn of_request(mut self, request: &'u RequestId) -> Self {
        if let Some(key) = &mut self.key {
            key.request = Some(request);
        }
        self
    }

    /// Reserves the worst case of a call in the budgets of its account and of every limit, or in none. The receipts
    /// have the [`crate::ledger::Reservation`].
    ///
    /// It is not taken if a limit would be exceeded: [`super::Refusal::Budget`]. It does not wait; see
    /// [`crate::ledger::Ledger::wait_for_budgets`].
    pub const fn reserve(mut self, request: ReservationRequest<'u>) -> Self {
        self.reserve = Some(request);
        self
    }

    /// As [`Unit::reserve`], for a call that has waited for its budgets.
    pub fn reserve_with(self, request: ReservationRequest<'u>, ticket: ReserveTicket) -> Self {
        Self { reserve: Some(request), ticket: Some(ticket), ..self }
    }

    /// Opens an audit entry. The receipts have the [`OpenAuditEntry`]; if the unit is not taken, the entry is
    /// closed in the same commit with the reason.
    pub fn open(self, opening: Opening) -> Self {
        Self { opening: Some(opening), ..self }
    }

    /// The tree of runs, by its root, that the opened entry belongs to, if that is known: a store with several writers
    /// writes it with the changes of that tree.
    pub const fn of_tree(mut self, root: Option<&'u RunId>) -> Self {
        self.tree = root;
        self
    }

    /// Records an event of the platform itself in the audit.
    pub fn record(self, subject: &str, message: &str) -> Self {
        let event = Event::System { subject: subject.to_owned(), message: message.to_owned() };
        Self { event: Some(event), ..self }
    }

    /// Closes an audit entry with the outcome of its call.
    pub fn close(self, entry: OpenAuditEntry, closing: Closing) -> Self {
        Self { closing: Some((entry, closing)), ..self }
    }

    /// Writes settlements.
    pub fn settle(mut self, settled: impl IntoIterator<Item = Settled>) -> Self {
        self.settled.extend(settled);
        self
    }

    /// Stores the reply of a request under its key. A repeated request gets it.
    ///
    /// The key remains reserved for the caller, who repeats this if the store fails: a key that has a reply does not
    /// change. Once the unit is durable, the caller has to call [`ReservedKey::end`].
    pub const fn finish_key(mut self, key: &'u ReservedKey, reply: &'u Reply) -> Self {
        self.key_reply = Some(KeyReply { key, reply: Some(reply) });
        self
    }

    /// Releases a key that keeps no reply, so that the request can be repeated. As for [`Unit::finish_key`], the caller
    /// may repeat this, and then has to call [`ReservedKey::end`].
    pub const fn abandon_key(mut self, key: &'u ReservedKey) -> Self {
        self.key_reply = Some(KeyReply { key, reply: None });
        self
    }

    /// The entries that the unit appends to a journal, for decorators of a store.
    #[must_use]
    pub const fn appended(&self) -> Option<&'u [Entry]> {
        match self.run {
            Some(RunChange::Append { entries, .. }) => Some(entries),
            Some(
                RunChange::Create { .. } | RunChange::Claim { .. } | RunChange::Release { .. } | RunChange::Fail { .. },
            )
            | None => None,
        }
    }

    /// The run that the unit creates, for decorators of a store.
    #[must_use]
    pub const fn created(&self) -> Option<&NewRun> {
        match &self.run {
            Some(RunChange::Create { run, .. }) => Some(run),
            Some(
                RunChange::Claim { .. } | RunChange::Append { .. } | RunChange::Release { .. } | RunChange::Fail { .. },
            )
            | None => None,
        }
    }

    /// The audit entry that the unit opens, for decorators of a store.
    #[must_use]
    pub const fn opening(&self) -> Option<&Opening> {
        self.opening.as_ref()
    }

    /// True if it stores a reply under a key or releases one, for decorators of a store.
    #[must_use]
    pub const fn ends_key(&self) -> bool {
        self.key_reply.is_some()
    }

    /// The number of settlements that it writes, for decorators of a store.
    #[must_use]
    pub const fn settlements(&self) -> usize {
        self.settled.len()
    }
}
