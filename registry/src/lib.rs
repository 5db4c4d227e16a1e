//! Who and what exists: runs, journals, audit, usage and money, shared contexts, artifacts, and the
//! versions of definitions.
//!
//! Every store is a trait; its implementations are private and come from [`open_memory`] or
//! [`open_sqlite`]. Only this crate knows SQL, and only this crate makes the witnesses
//! [`journal::Receipt`], [`audit::Bracket`] and [`ledger::Reservation`]. What does not live here:
//! actors, policy, ingress. Nothing here spawns: what has to run beside the stores is answered as
//! [`Writer`]s, which the composition root runs.

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use greenroom_protocol as protocol;
use protocol::Clock;

pub mod agent_memory;
pub mod artifacts;
pub mod audit;
pub mod context;
pub mod definition_store;
pub mod error;
pub mod group_commit;
pub mod idempotency;
pub mod journal;
pub mod ledger;
pub mod maintenance;
pub mod runs;

mod fs_artifacts;
mod in_memory;
mod notify;
mod sqlite;
#[cfg(test)]
mod suite;

pub use error::StoreError;
pub use fs_artifacts::open_fs_artifacts;
pub use in_memory::artifacts::in_memory_artifacts;

use agent_memory::MemoryStore;
use artifacts::ArtifactStore;
use audit::AuditLog;
use audit::signer::Signer;
use context::ContextStore;
use definition_store::DefinitionStore;
use idempotency::IdempotencyStore;
use journal::Journal;
use ledger::Ledger;
use maintenance::{CheckReport, StoreMaintenance};
use runs::RunStore;

/// Every store of one process.
#[derive(Clone)]
pub struct Stores {
    /// Which runs there are, and who owns them.
    pub runs: Arc<dyn RunStore>,
    /// What each run remembers.
    pub journal: Arc<dyn Journal>,
    /// What was asked, decided and done.
    pub audit: Arc<dyn AuditLog>,
    /// Who used and spent what.
    pub ledger: Arc<dyn Ledger>,
    /// What teams share.
    pub context: Arc<dyn ContextStore>,
    /// Bytes by their hash.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// Bodies of definitions by their hash.
    pub definitions: Arc<dyn DefinitionStore>,
    /// Answers by the caller's key.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// What agents remember.
    pub memory: Arc<dyn MemoryStore>,
    /// Check, backup, close.
    pub maintenance: Arc<dyn StoreMaintenance>,
}

/// A future that must run for as long as the stores are used. It ends well once the stores are
/// closed; an error means that nothing can be recorded any more, and the process has to end. It may
/// block its thread while a disk writes, so it wants one of its own.
pub struct StoreTask {
    /// What it does, for logs.
    pub name: &'static str,
    /// The future.
    pub run: BoxFuture<'static, Result<(), StoreError>>,
}

/// Stores, and what has to run beside them.
pub struct OpenedStores {
    /// The stores.
    pub stores: Stores,
    /// What the root has to run.
    pub tasks: Vec<StoreTask>,
}

/// What every implementation needs from outside.
pub struct StoreParts {
    /// Reads the wall clock.
    pub clock: Arc<dyn Clock>,
    /// Signs the head of the audit.
    pub signer: Signer,
    /// Where bytes lie.
    pub artifacts: Arc<dyn ArtifactStore>,
}

/// What a power cut may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncMode {
    /// Nothing that was answered: every commit is flushed to the disk.
    #[default]
    Full,
    /// The commits of the last moment before the power cut; never those before a crash of the
    /// process. The database stays sound.
    Normal,
}

/// Opens stores that live as long as the process.
#[must_use]
pub fn open_in_memory(parts: StoreParts) -> OpenedStores {
    in_memory::open(parts)
}

/// Reads a database that no process has open, changes nothing in it, and says what is wrong: also of
/// one that [`open_sqlite`] refuses. Its folder is owned by a lock meanwhile.
///
/// # Errors
/// [`StoreError`] if there is no such file; what cannot be read of it is a problem in the report.
pub async fn examine_sqlite(path: &Path, signer: &Signer) -> Result<CheckReport, StoreError> {
    sqlite::inspect::examine(path, signer).await
}

/// Opens, or makes, the database at `path`. The caller owns its folder by a lock: nobody else may
/// have it open for writing.
///
/// What the last process left is put in order first: brackets that it left open are closed as
/// interrupted, reservations are settled as estimated, leases are void.
///
/// # Errors
/// [`StoreError`] if the file cannot be opened, is damaged, is newer than this release, or does not
/// hold what was signed last.
pub async fn open_sqlite(path: &Path, synchronous: SyncMode, parts: StoreParts) -> Result<OpenedStores, StoreError> {
    sqlite::open(path, synchronous, parts).await
}
