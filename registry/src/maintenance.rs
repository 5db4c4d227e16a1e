//! Operations on a store as a whole: check, backup, listing the referenced artifacts, pruning, close.

use std::collections::HashSet;
use std::path::Path;

use async_trait::async_trait;
use greenroom_protocol::{ContentHash, TenantId, Timestamp};

use crate::audit::{ChainReport, PruneReport};
use crate::error::StoreError;

/// The result of a check.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckReport {
    /// Problems of the store's own files; empty if there are none.
    pub problems: Vec<String>,
    /// The verification of the audit; none if the audit cannot be read, which is then one of the problems.
    pub audit: Option<ChainReport>,
    /// The version of the schema.
    pub schema: i64,
    /// Bytes on the disk; zero in memory.
    pub bytes: u64,
}

impl CheckReport {
    /// True if there is no problem and the audit is valid.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty() && self.audit.as_ref().is_some_and(ChainReport::is_valid)
    }
}

/// Maintenance of a store.
#[async_trait]
pub trait StoreMaintenance: Send + Sync {
    /// Reads the whole store and reports its problems.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read at all.
    async fn check(&self) -> Result<CheckReport, StoreError>;

    /// Writes a consistent copy while the store is in use. The file must not exist.
    ///
    /// # Errors
    /// [`StoreError`], and then there is no copy.
    async fn backup(&self, to: &Path) -> Result<(), StoreError>;

    /// Returns the artifacts that a journal (with the changes of its context), a stored reply or a memory references.
    ///
    /// # Errors
    /// [`StoreError`] if not everything could be read; the caller must not sweep then.
    async fn referenced_artifacts(&self) -> Result<HashSet<ContentHash>, StoreError>;

    /// Deletes the runs of a tenant (none: of all) that ended before this time, with their journals and keys, and
    /// returns their number. A run of a tree that has not ended is not deleted, because the run that called it may
    /// need its reply again. It deletes in pieces, and other commits go on between them.
    ///
    /// # Errors
    /// [`StoreError`], and then only some of them may have been deleted.
    async fn prune_runs(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError>;

    /// Deletes the keys of a tenant (none: of all) whose reply was stored before this time, and returns their
    /// number.
    ///
    /// # Errors
    /// As [`StoreMaintenance::prune_runs`].
    async fn prune_keys(&self, tenant: Option<&TenantId>, before: Timestamp) -> Result<u64, StoreError>;

    /// Removes the audit records older than `before`, up to the oldest open entry, and replaces them by a
    /// signed anchor.
    ///
    /// # Errors
    /// As [`StoreMaintenance::prune_runs`]; the chain is valid in any case.
    async fn prune_audit(&self, before: Timestamp, now: Timestamp) -> Result<PruneReport, StoreError>;

    /// Writes all queued commands, records that the pod was active until now, signs the end of the audit and ends the
    /// store's tasks. Every later write is rejected with [`StoreError::Closed`].
    ///
    /// # Errors
    /// [`StoreError`] if the end of the audit could not be signed.
    async fn close(&self, now: Timestamp) -> Result<(), StoreError>;
}
