//! Persistent state: runs, journals, audit, usage and money, shared contexts, artifacts, agent
//! memories, idempotency keys, versions of definitions, the catalogues and policies that were applied, and credentials.
//!
//! Every store is a trait. Its implementations are private and come from [`open_in_memory`], [`open_sqlite`] or
//! [`open_postgres`]; views of contexts and rate windows may come from [`redis::Redis`] instead, and agent memories from
//! [`qdrant::Qdrant`]. What must be durable together is written by one of them, [`core::CoreStore`]; the others
//! read. Only this crate knows SQL, and only this crate constructs the proofs [`journal::Receipt`],
//! [`audit::OpenAuditEntry`] and [`ledger::Reservation`]. Actors, policy and
//! ingress do not belong here. This crate spawns nothing: the work that must run beside the stores is
//! returned as [`StoreTask`]s, which the composition root runs. Only the clients of Redis and of Qdrant have tasks of their own.

use std::path::Path;

pub mod agent_memory;
pub mod artifacts;
pub mod audit;
pub mod catalogue_search;
pub mod cluster;
pub mod context;
pub mod core;
pub mod credential_store;
pub mod definition_store;
pub mod error;
pub mod generation_store;
pub mod group_commit;
pub mod idempotency;
pub mod journal;
pub mod ledger;
pub mod maintenance;
pub mod outage;
pub mod qdrant;
pub mod rate_windows;
pub mod redis;
pub mod restore;
pub mod runs;
pub mod source_files;

mod authorities;
mod columns;
mod fs_artifacts;
mod in_memory;
mod migrations;
mod notify;
mod postgres;
mod s3_artifacts;
mod sqlite;
mod stores;
#[cfg(test)]
mod suite;

pub use artifacts::location::ArtifactLocation;
pub use error::{S3Fault, ServerFault, StoreError};
pub use fs_artifacts::{FolderSharing, open_fs_artifacts};
pub use in_memory::artifacts::in_memory_artifacts;
pub use s3_artifacts::{S3Settings, S3Timeouts, open_s3_artifacts, open_s3_source};
pub use stores::{OpenedStores, StoreParts, StoreTask, Stores, SyncMode};

use audit::signer::Signer;
use audit::{ChainKey, ChainReport, ExportReport};
use cluster::{ClusterFormat, Finalized, PodInfo};
use greenroom_protocol::{PrincipalId, Timestamp};
use maintenance::CheckReport;
use restore::{RaisedCopy, RestoreError, RestoreReport, StagedRestore};

/// Opens stores that live as long as the process.
#[must_use]
pub fn open_in_memory(parts: StoreParts) -> OpenedStores {
    in_memory::open(parts)
}

/// Checks a database without changing it, also beside a process that writes it. It accepts files that
/// [`open_sqlite`] rejects.
///
/// # Errors
/// [`StoreError`] if the file does not exist. Content that cannot be read is a problem in the report.
pub async fn examine_sqlite(path: &Path, key: &ChainKey) -> Result<CheckReport, StoreError> {
    sqlite::inspect::examine(path, key).await
}

/// Verifies the audit of a database with a public key, without changing it, also beside a process that writes it.
///
/// # Errors
/// [`StoreError`] if it cannot be read, or belongs to another key. A violation is no error: the report contains it.
pub async fn verify_sqlite_audit(path: &Path, key: &ChainKey) -> Result<ChainReport, StoreError> {
    sqlite::inspect::verify(path, key).await
}

/// Exports the audit of an SQLite database to a new file, without changing it, also beside a process that writes it.
/// Whoever may read the database may export it; [`verify_audit_export`] verifies the file.
///
/// # Errors
/// [`StoreError`] if it cannot be read, or if the file exists or cannot be written; then there is no file.
pub async fn export_sqlite_audit(path: &Path, to: &Path) -> Result<ExportReport, StoreError> {
    sqlite::inspect::export(path, to).await
}

/// As [`export_sqlite_audit`], for a PostgreSQL database, with all its chains and the root chain.
///
/// # Errors
/// As [`export_sqlite_audit`]; [`StoreError`] if its schema is not that of this release.
pub async fn export_postgres_audit(url: &str, to: &Path) -> Result<ExportReport, StoreError> {
    postgres::inspect::export(url, to).await
}

/// Verifies an exported audit with the public key. The end of a root chain, which a copy may precede, is not compared
/// with the newest signed head.
///
/// # Errors
/// [`StoreError`] if the file cannot be read, is not complete or belongs to another key. A violation is no error: the
/// report contains it.
pub fn verify_audit_export(file: &Path, key: &ChainKey) -> Result<ChainReport, StoreError> {
    audit::export::verify_export(file, key)
}

/// Verifies a backup as [`examine_sqlite`] does, and copies it beside the database that it is to replace. Neither
/// file is changed.
///
/// # Errors
/// [`RestoreError`]
pub async fn prepare_restore(backup: &Path, database: &Path, key: &ChainKey) -> Result<StagedRestore, RestoreError> {
    sqlite::restore::prepare(backup, database, key).await
}

/// Replaces the database by the copy of a backup, and records the break in the audit of the copy. The replaced
/// database remains beside it under another name.
///
/// # Errors
/// [`StoreError::InUse`] if a process owns the database; [`StoreError`] if a file cannot be written. Nothing was
/// replaced then, unless only the signed head could not be saved: the break that is signed in the database stands
/// for it.
pub async fn commit_restore(
    staged: StagedRestore,
    signer: Signer,
    by: PrincipalId,
    now: Timestamp,
) -> Result<RestoreReport, StoreError> {
    tokio::task::spawn_blocking(move || sqlite::restore::commit(&staged, &signer, by, now))
        .await
        .map_err(|error| StoreError::Failed(error.to_string()))?
}

/// Opens the database at `path`, or creates it, and locks it until its writer ends: no other process can
/// have it open for writing.
///
/// Opening recovers from an unclean shutdown first. The pods that have owned the database before are dead: the audit
/// entries that they have left open are closed as interrupted, their reservations are settled as estimated, the keys of
/// their requests in flight are released, and their leases are void.
///
/// # Errors
/// [`StoreError::InUse`] if another process owns it; [`StoreError`] if the file cannot be opened, is damaged, is newer than this release, or does not
/// contain the audit record that was signed last.
pub async fn open_sqlite(path: &Path, sync_mode: SyncMode, parts: StoreParts) -> Result<OpenedStores, StoreError> {
    sqlite::open(path, sync_mode, parts).await
}

/// Opens a PostgreSQL database, which many pods may have open, for this start of a pod.
///
/// The stores of a pod live as long as its lease, which one of the tasks renews. If another pod declares this one dead,
/// because it has not renewed its lease in time, its tasks fail, and nothing of it is written any more.
///
/// # Errors
/// [`StoreError::Unreachable`] if its server cannot be reached, [`StoreError::Refused`] if it refuses this pod;
/// [`StoreError::Unmigrated`] if its schema is older than this release needs ([`migrate_postgres`]),
/// [`StoreError::Version`] if it is newer, [`StoreError::Corrupt`] if it lacks functions;
/// [`StoreError::ArtifactsNotShared`] if another pod uses it that stores artifacts in another place than `location`, or both in
/// folders of their own: the lease of a pod that was killed is waited for, which takes a few seconds; [`StoreError`] if it
/// belongs to other pods, or does not contain the audit record that this pod signed last.
pub async fn open_postgres(
    url: &str,
    location: &ArtifactLocation,
    parts: StoreParts,
) -> Result<OpenedStores, StoreError> {
    postgres::open(url, postgres::lane_count(), location, parts).await
}

/// The pods of a PostgreSQL database whose leases have not expired, and the format of journals that they may write.
///
/// # Errors
/// As [`open_postgres`]
pub async fn read_postgres_pods(url: &str) -> Result<(Vec<PodInfo>, ClusterFormat), StoreError> {
    postgres::pod_list::read(url).await
}

/// Lets the pods of a PostgreSQL database write the journals of this release, if all that are alive read them. No release
/// that does not read them can join afterwards.
///
/// # Errors
/// As [`open_postgres`]; the command may be repeated.
pub async fn finalize_postgres(url: &str, now: Timestamp) -> Result<Finalized, StoreError> {
    postgres::pod_list::finalize(url, now).await
}

/// Migrates the schema of a PostgreSQL database to that of this release, and returns its version. Migrations are
/// additive: pods of the release before continue to work.
///
/// # Errors
/// [`StoreError`], and then the schema is that of the last migration that succeeded.
pub async fn migrate_postgres(url: &str) -> Result<i64, StoreError> {
    postgres::migrate(url).await
}

/// Checks a PostgreSQL database without changing it, also beside pods that write it, and without a schema. Without a key
/// its audit is not verified.
///
/// # Errors
/// [`StoreError`] if its server cannot be reached. What is wrong with the database is a problem in the report.
pub async fn examine_postgres(url: &str, key: Option<&ChainKey>) -> Result<CheckReport, StoreError> {
    postgres::inspect::examine(url, key).await
}

/// Prepares a PostgreSQL database that was restored from a copy for its pods: their ids and the fences of its runs become
/// larger than those that were there after the copy was made, and the pods of the copy are dead. Beside a pod that is alive
/// nothing is changed; a further time it raises them again, which harms nothing.
///
/// # Errors
/// [`StoreError`] if its server cannot be reached or its schema is not that of this release; nothing was changed then.
pub async fn raise_postgres_copy(url: &str) -> Result<RaisedCopy, StoreError> {
    postgres::restored::raise(url).await
}
