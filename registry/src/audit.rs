//! The audit: a hash-chained, append-only log with one entry for every call. The entry is open and
//! durable before the call is executed, or the call is rejected. It is closed after the call; a failure
//! to close it never reverts the call.

use std::fmt;
use std::ops::Deref;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::audit::{Event, Opening, Record};
use protocol::{Cause, ContentHash, RequestId, TenantId, Timestamp};
use serde::Serialize;

use crate::error::StoreError;

pub mod chain;
pub mod chain_key;
pub(crate) mod chains;
pub(crate) mod export;
pub mod head;
pub(crate) mod root_anchor;
pub(crate) mod root_chain;
pub mod signer;
pub mod verify;

pub use chain_key::ChainKey;
pub use export::ExportReport;
pub use verify::{ChainBreak, ChainReport, ChainViolation};

/// The bits of the number of a record within its chain; the number of the chain is in the bits above.
const NUMBER_BITS: u32 = 40;

/// Stands for the root chain of a database that has several chains, where a chain is named by a number.
pub(crate) const ROOT_CHAIN: u64 = (1 << (u64::BITS - NUMBER_BITS)) - 1;

/// The number of a record: 1, 2, 3, … without a gap. A database that many pods share has several chains; then the
/// upper bits are the number of the chain, which is 0 for the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AuditSeq(pub u64);

impl AuditSeq {
    /// The record with this number in a chain.
    #[must_use]
    pub const fn in_chain(chain: u64, number: u64) -> Self {
        Self((chain << NUMBER_BITS) | number)
    }

    /// The number of its chain.
    #[must_use]
    pub const fn chain(self) -> u64 {
        self.0 >> NUMBER_BITS
    }

    /// Its number within its chain.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 & ((1 << NUMBER_BITS) - 1)
    }
}

impl fmt::Display for AuditSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.chain() {
            0 => write!(f, "{}", self.number()),
            ROOT_CHAIN => write!(f, "{} of the root chain", self.number()),
            chain => write!(f, "{} of chain {chain}", self.number()),
        }
    }
}

/// The records that a reader may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditScope {
    /// Every record, which only the platform itself may read.
    All,
    /// The entries of one tenant.
    Tenant(TenantId),
    /// The entries of the pod's own tenant, and the events of the platform.
    Pod(TenantId),
}

impl AuditScope {
    /// The scope of a tenant's users.
    #[must_use]
    pub fn for_tenant(tenant: &TenantId) -> Self {
        if tenant.is_pod() { Self::Pod(tenant.clone()) } else { Self::Tenant(tenant.clone()) }
    }

    /// The tenant whose entries are read; none for all.
    pub(crate) const fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::All => None,
            Self::Tenant(tenant) | Self::Pod(tenant) => Some(tenant),
        }
    }

    /// True if the events of the platform are read.
    pub(crate) const fn has_system_events(&self) -> bool {
        matches!(self, Self::All | Self::Pod(_))
    }
}

/// Whose entry it is: the request, and the tenant of its principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntrySubject {
    pub(crate) request: RequestId,
    pub(crate) tenant: TenantId,
}

impl EntrySubject {
    pub(crate) fn from_opening(opening: &Opening) -> Self {
        Self { request: opening.request.clone(), tenant: opening.tenant.clone() }
    }
}

/// Called with the number of an open entry that is dropped before it is closed.
pub(crate) type OnDrop = Box<dyn FnOnce(AuditSeq) + Send + Sync>;

/// Proof that an audit entry is open and durable. It is closed once. If it is dropped before that, the
/// log closes the entry as interrupted. Only a unit of the stores yields it:
///
/// ```compile_fail
/// use greenroom_registry::audit::{AuditSeq, OpenAuditEntry};
/// let entry = OpenAuditEntry { opened: AuditSeq(1), subject: todo!(), at: todo!(), on_drop: None };
/// ```
///
/// ```compile_fail
/// use greenroom_registry::audit::{AuditSeq, OpenAuditEntry};
/// let entry = OpenAuditEntry::new(AuditSeq(1), todo!(), todo!(), None);
/// ```
#[must_use = "an open audit entry must be closed"]
pub struct OpenAuditEntry {
    opened: AuditSeq,
    subject: EntrySubject,
    at: Timestamp,
    on_drop: Option<OnDrop>,
}

impl OpenAuditEntry {
    pub(crate) const fn new(opened: AuditSeq, subject: EntrySubject, at: Timestamp, on_drop: Option<OnDrop>) -> Self {
        Self { opened, subject, at, on_drop }
    }

    /// An open entry for tests of other crates.
    #[cfg(feature = "testing")]
    pub fn for_test(opened: AuditSeq, request: RequestId, at: Timestamp) -> Self {
        Self::new(opened, EntrySubject { request, tenant: TenantId::default() }, at, None)
    }

    /// The number of the record that opened the entry.
    #[must_use]
    pub const fn opened(&self) -> AuditSeq {
        self.opened
    }

    /// The request that the entry is about.
    #[must_use]
    pub const fn request(&self) -> &RequestId {
        &self.subject.request
    }

    /// Whose entry it is.
    pub(crate) const fn subject(&self) -> &EntrySubject {
        &self.subject
    }

    /// When the entry was opened.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Disables the callback, because the entry is being closed.
    pub(crate) fn disarm(&mut self) {
        self.on_drop = None;
    }
}

impl Drop for OpenAuditEntry {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop(self.opened);
        }
    }
}

impl fmt::Debug for OpenAuditEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAuditEntry")
            .field("opened", &self.opened)
            .field("request", &self.subject.request)
            .finish_non_exhaustive()
    }
}

/// An error of the audit. A call that cannot be recorded must not be executed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// A record cannot be written or read.
    #[error("the audit cannot be written or read")]
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

/// Which record it is, in a database with several chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RecordPosition {
    /// The number of its chain.
    pub chain: u64,
    /// Its number within the chain.
    pub number: u64,
}

/// A record as it is read, with its chain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListedRecord {
    /// The number of its chain; none if the database has one chain only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<u64>,
    /// The record that has opened the entry which this one closes. It is in another chain if its pod had died.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened: Option<RecordPosition>,
    /// The record.
    #[serde(flatten)]
    pub record: Record,
}

impl ListedRecord {
    /// A record of a database that has one chain.
    pub(crate) const fn of_only_chain(record: Record) -> Self {
        Self { chain: None, opened: None, record }
    }

    /// A record of one of several chains.
    pub(crate) fn of_chain(chain: u64, record: Record) -> Self {
        let opened = match record.event {
            Event::Closed { opened, .. } | Event::Interrupted { opened } => Some(AuditSeq(opened)),
            Event::Opened(_) | Event::System { .. } | Event::Restored(_) | Event::Unknown(_) => None,
        };
        // An entry of the same chain is named by its number alone.
        let position = |opened: AuditSeq| RecordPosition {
            chain: if opened.chain() == 0 { chain } else { opened.chain() },
            number: opened.number(),
        };
        Self { chain: Some(chain), opened: opened.map(position), record }
    }
}

impl Deref for ListedRecord {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

/// One page of the audit, the newest record first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuditPage {
    /// The records.
    pub records: Vec<ListedRecord>,
    /// The next page contains the records before this one; none if this is the last page.
    pub next: Option<AuditSeq>,
}

/// The result of [`crate::maintenance::StoreMaintenance::prune_audit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PruneReport {
    /// Records that were removed.
    pub records: u64,
    /// The last removed record; the chain now starts after it, with a signed anchor.
    pub through: AuditSeq,
}

/// A record of the root chain, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootRecord {
    /// Its number, from 1.
    pub number: u64,
    /// Its hash, which covers that of the record before it.
    pub hash: ContentHash,
    /// The record.
    pub record: String,
}

/// Reads the audit. Entries are opened and closed by a [`crate::core::Unit`].
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Reads at most `limit` records of a scope before `before` (none: the newest), the newest first.
    ///
    /// # Errors
    /// [`AuditError`] if they cannot be read.
    async fn read(&self, scope: &AuditScope, before: Option<AuditSeq>, limit: u32) -> Result<AuditPage, AuditError>;

    /// Finds the records of a request by its id, or one record by its number, within a scope and in the
    /// order in which they were written. In a database with several chains, a number names a record of each of them, and
    /// `CHAIN/NUMBER` names one.
    ///
    /// # Errors
    /// [`AuditError`] if they cannot be read.
    async fn find(&self, scope: &AuditScope, id: &str) -> Result<Vec<ListedRecord>, AuditError>;

    /// Reads records of the root chain after this number, in their order; not necessarily all. None in a database that has
    /// one chain only.
    ///
    /// # Errors
    /// [`AuditError`] if they cannot be read.
    async fn read_root(&self, _after: u64) -> Result<Vec<RootRecord>, AuditError> {
        Ok(Vec::new())
    }

    /// Verifies the whole hash chain.
    ///
    /// # Errors
    /// [`AuditError`] if it cannot be read. A violation is no error: the [`ChainReport`] contains it.
    async fn verify(&self) -> Result<ChainReport, AuditError>;
}
