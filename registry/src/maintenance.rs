//! What an operator does to a store as a whole: check it, copy it, say what it names,
//! close it.

use std::collections::HashSet;
use std::path::Path;

use async_trait::async_trait;
use greenroom_protocol::{ContentHash, Timestamp};

use crate::audit::ChainReport;
use crate::error::StoreError;

/// What a check found.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckReport {
    /// What the store says of its own files; empty if they are sound.
    pub problems: Vec<String>,
    /// What the audit's chain says; none if it cannot even be read, and then a problem says why.
    pub audit: Option<ChainReport>,
    /// The version of the schema.
    pub schema: i64,
    /// Bytes on disk; zero in memory.
    pub bytes: u64,
}

impl CheckReport {
    /// True if nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty() && self.audit.is_some_and(|audit| audit.is_valid())
    }
}

/// Looks after a store.
#[async_trait]
pub trait StoreMaintenance: Send + Sync {
    /// Reads everything and says what is wrong.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot even be read.
    async fn check(&self) -> Result<CheckReport, StoreError>;

    /// Writes a consistent copy while work goes on. The file must not exist.
    ///
    /// # Errors
    /// [`StoreError`], and then there is no copy.
    async fn backup(&self, to: &Path) -> Result<(), StoreError>;

    /// The artifacts that any journal, kept answer or shared context names.
    ///
    /// # Errors
    /// [`StoreError`] if not everything could be read: then nothing may be swept.
    async fn referenced_artifacts(&self) -> Result<HashSet<ContentHash>, StoreError>;

    /// Writes what waits, signs the end of the audit and lets the writers end. Every later call is
    /// refused with [`StoreError::Closed`].
    ///
    /// # Errors
    /// [`StoreError`] if the last writes failed.
    async fn close(&self, now: Timestamp) -> Result<(), StoreError>;
}
