//! The audit: a hash-chained, append-only log that brackets every act. The opening is durable before
//! the act, or the act is refused; the closing follows it and never undoes it.

use std::fmt;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::audit::{Closing, Opening, Record};
use protocol::{Cause, RequestId, Timestamp};

use crate::error::StoreError;
use crate::group_commit::{CommitTiming, SubmittedCommand};

pub mod chain;
pub mod head;
pub mod signer;
pub mod verify;

pub use verify::{ChainReport, ChainViolation};

/// The number of a record: 1, 2, 3, … without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AuditSeq(pub u64);

/// Called with a bracket's number when it is dropped without having been closed.
pub(crate) type OnDrop = Box<dyn FnOnce(AuditSeq) + Send + Sync>;

/// Proof that an opening is durable. It is closed once; dropped, its record says `interrupted`.
/// Only an audit log makes it:
///
/// ```compile_fail
/// use greenroom_registry::audit::{AuditSeq, Bracket};
/// let bracket = Bracket { opened: AuditSeq(1), request: todo!(), at: todo!(), abandoned: None };
/// ```
///
/// ```compile_fail
/// use greenroom_registry::audit::{AuditSeq, Bracket};
/// let bracket = Bracket::new(AuditSeq(1), todo!(), todo!(), None);
/// ```
#[must_use = "an opened record is to be closed"]
pub struct OpenAuditEntry {
    opened: AuditSeq,
    request: RequestId,
    at: Timestamp,
    on_drop: Option<OnDrop>,
}

impl OpenAuditEntry {
    pub(crate) const fn new(opened: AuditSeq, request: RequestId, at: Timestamp, on_drop: Option<OnDrop>) -> Self {
        Self { opened, request, at, on_drop }
    }

    /// A bracket for tests of other crates; never in the product.
    #[cfg(feature = "testing")]
    pub const fn for_test(opened: AuditSeq, request: RequestId, at: Timestamp) -> Self {
        Self::new(opened, request, at, None)
    }

    /// The number of the opening.
    #[must_use]
    pub const fn opened(&self) -> AuditSeq {
        self.opened
    }

    /// The request that it brackets.
    #[must_use]
    pub const fn request(&self) -> &RequestId {
        &self.request
    }

    /// When it was opened.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Takes the bracket for closing: from here on its drop says nothing.
    pub(crate) fn disarm(&mut self) {
        self.on_drop = None;
    }
}

impl Drop for OpenAuditEntry {
    fn drop(&mut self) {
        if let Some(abandoned) = self.on_drop.take() {
            abandoned(self.opened);
        }
    }
}

impl fmt::Debug for OpenAuditEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bracket").field("opened", &self.opened).field("request", &self.request).finish_non_exhaustive()
    }
}

/// An opening that was handed in and may not be durable yet.
#[must_use = "the act waits for the bracket"]
pub struct PendingAuditEntry(EntryState);

enum EntryState {
    Submitted(SubmittedCommand<OpenAuditEntry, StoreError>),
    Resolved(Result<OpenAuditEntry, AuditError>),
}

impl PendingAuditEntry {
    pub(crate) const fn submitted(handed: SubmittedCommand<OpenAuditEntry, StoreError>) -> Self {
        Self(EntryState::Submitted(handed))
    }

    /// An opening that was not written, for tests of other crates; never in the product.
    #[cfg(feature = "testing")]
    pub const fn failed_for_test() -> Self {
        Self(EntryState::Resolved(Err(AuditError::Store(StoreError::Full))))
    }

    pub(crate) const fn resolved(entry: OpenAuditEntry) -> Self {
        Self(EntryState::Resolved(Ok(entry)))
    }

    /// Waits until the opening is durable, and shows the proof.
    ///
    /// # Errors
    /// [`AuditError`], and then the act may not be done.
    pub async fn wait_durable(&mut self) -> Result<&OpenAuditEntry, AuditError> {
        if let EntryState::Submitted(handed) = &mut self.0 {
            let answer = handed.wait_reply().await;
            self.0 = EntryState::Resolved(answer.map_err(AuditError::from));
        }
        match &self.0 {
            EntryState::Resolved(Ok(entry)) => Ok(entry),
            EntryState::Resolved(Err(error)) => Err(error.clone()),
            EntryState::Submitted(_) => Err(AuditError::Store(StoreError::Closed)),
        }
    }

    /// Waits until the opening is durable, and gives what closes it.
    ///
    /// # Errors
    /// As [`Opened::durable`].
    pub async fn into_open_entry(self) -> Result<OpenAuditEntry, AuditError> {
        match self.0 {
            EntryState::Submitted(mut handed) => Ok(handed.wait_reply().await?),
            EntryState::Resolved(known) => known,
        }
    }
}

/// Why the audit refused; what cannot be recorded may not be done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// The record cannot be kept, or cannot be read.
    #[error("the audit cannot be kept")]
    Store(#[from] StoreError),
}

impl AuditError {
    /// The cause that a user sees.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Store(error) => error.audit_cause(),
        }
    }
}

/// One part of the audit, the newest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuditPage {
    /// The records.
    pub records: Vec<Record>,
    /// Ask for what lies before this one; none if this is the last part.
    pub next: Option<AuditSeq>,
}

/// What [`AuditLog::prune`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PruneReport {
    /// How many records are gone.
    pub records: u64,
    /// The last of them; the chain now begins behind it, with a signed anchor.
    pub through: AuditSeq,
}

/// Keeps the audit.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Writes the opening of an act; it is durable when the bracket is there.
    ///
    /// # Errors
    /// [`AuditError`], and then the act may not be done.
    async fn open(&self, opening: Opening, now: Timestamp) -> Result<OpenAuditEntry, AuditError> {
        self.submit(opening, CommitTiming::Immediate, now).await?.into_open_entry().await
    }

    /// As [`AuditLog::open`], but does not wait for the disk: with [`Haste::Company`] the opening shares
    /// the commit of what the caller hands in next.
    ///
    /// # Errors
    /// [`AuditError`] if it could not even be handed in.
    async fn submit(
        &self,
        opening: Opening,
        timing: CommitTiming,
        now: Timestamp,
    ) -> Result<PendingAuditEntry, AuditError>;

    /// Writes what came of the act. It is queued, retried where the store fails, and logged; it
    /// never undoes what was done, and the caller does not wait for the disk.
    async fn close(&self, entry: OpenAuditEntry, closing: Closing, now: Timestamp);

    /// Writes that something happened to the platform itself; durable when it returns.
    ///
    /// # Errors
    /// [`AuditError`] if it cannot be kept.
    async fn record_system_event(&self, subject: &str, message: &str, now: Timestamp) -> Result<AuditSeq, AuditError>;

    /// At most `limit` records before `before` (none: the newest), the newest first.
    ///
    /// # Errors
    /// [`AuditError`] if they cannot be read.
    async fn read(&self, before: Option<AuditSeq>, limit: u32) -> Result<AuditPage, AuditError>;

    /// The records of one request, or the one of a number, in the order of their writing.
    ///
    /// # Errors
    /// [`AuditError`] if they cannot be read.
    async fn find(&self, id: &str) -> Result<Vec<Record>, AuditError>;

    /// Walks the whole chain.
    ///
    /// # Errors
    /// [`AuditError`] if it cannot be read; a broken chain is no error but a [`Verdict`].
    async fn verify(&self) -> Result<ChainReport, AuditError>;

    /// Removes the records older than `before`, up to the oldest that is still open, and leaves a
    /// signed anchor in their place.
    ///
    /// # Errors
    /// [`AuditError`], and then none was removed.
    async fn prune(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, AuditError>;
}
