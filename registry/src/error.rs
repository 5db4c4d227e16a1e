//! The errors of a store, one variant for each that an operator resolves differently: a full disk, a
//! locked file and a damaged one are three things. Each maps to the cause that a user sees.

use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::{Cause, ErrorCode};

use greenroom_protocol as protocol;

use crate::qdrant::error::QdrantError;
use crate::redis::error::RedisError;

pub(crate) mod migration;
mod outage;
mod s3_fault;
mod server_fault;

pub use s3_fault::S3Fault;
pub use server_fault::ServerFault;

/// Every value of `details.store` of an error of the database itself, besides those of [`ServerFault`].
pub const STORE_ERROR_DETAILS: [&str; 18] = [
    "disk_full",
    "disk",
    "read_only",
    "locked",
    "corrupt",
    "version",
    "unmigrated",
    "closed",
    "timeout",
    "outcome_unknown",
    "overrun",
    "codec",
    "chain",
    "head_pruned",
    "other_database",
    "other_directory",
    "unreachable",
    "failed",
];

/// When a caller may repeat a request to a pod whose lease has lapsed: it renews its lease more often than this.
const LAPSED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// An error of a store. Nothing of the failed request was stored, except that this is not known for
/// [`StoreError::OutcomeUnknown`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. Accepted work is safe, new work is rejected.
    #[error("the disk is full")]
    Full,
    /// The operating system failed a read or a write: a broken disk, or a limit on the size of files.
    #[error("the disk failed: {0}")]
    Disk(String),
    /// The database cannot be written.
    #[error("the database is read-only")]
    ReadOnly,
    /// Another process has locked the database.
    #[error("the database is locked by another process")]
    Locked,
    /// Another process has the database open for writing.
    #[error("the database {} belongs to process {}", .database.display(), .owner.map_or_else(|| "of unknown id".to_owned(), |id| id.to_string()))]
    InUse {
        /// The database.
        database: PathBuf,
        /// The id of that process, if the system shows it.
        owner: Option<u32>,
    },
    /// The file is damaged, or is not a database of Greenroom.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// The database was written by a newer release.
    #[error("the database is not compatible with this release: {0}")]
    Version(String),
    /// The schema of the database is older than this release needs.
    #[error("the database must be migrated: {0}")]
    Unmigrated(String),
    /// The writer has ended, because the process is stopping.
    #[error("the store is closed")]
    Closed,
    /// The store did not read within its time, because all its readers are in use.
    #[error("the store did not reply in time")]
    Timeout,
    /// The writer did not reply within [`crate::group_commit::COMMIT_WAIT_MAX`], or ended before it did: the
    /// request may have been executed, or may still be.
    #[error("the store did not reply in time, so it is not known whether the request was executed")]
    OutcomeUnknown,
    /// The queue of the writer has [`crate::group_commit::QUEUE_LENGTH_MAX`] commands.
    #[error("the write queue of the store is full")]
    Overrun,
    /// A stored value cannot be read back, or a value cannot be stored.
    #[error("a stored value cannot be read: {0}")]
    Codec(String),
    /// The audit chain does not match its signed head.
    #[error("the audit chain is not valid: {0}")]
    Chain(String),
    /// The records are valid, but that of the signed head beside the key was pruned, so the head is compared with nothing.
    #[error(
        "the audit has no violation, but record {signed} of the root chain, which was signed, is pruned: the root chain \
         begins with record {first}"
    )]
    HeadPruned {
        /// The record that the head names.
        signed: u64,
        /// The first record of the root chain, an anchor.
        first: u64,
    },
    /// The data directory belongs to another database.
    #[error("{0}")]
    OtherDatabase(String),
    /// The database belongs to another data directory.
    #[error("{0}")]
    OtherDirectory(String),
    /// Another pod of the database stores artifacts where this one would not find them.
    #[error(
        "the pod {pod} uses the same database and stores artifacts elsewhere ({location}) than this one ({own}), so neither \
         would find those of the other"
    )]
    ArtifactsNotShared {
        /// The id of the other pod.
        pod: String,
        /// Where it stores them.
        location: String,
        /// Where this pod does.
        own: String,
    },
    /// The server of the database refuses this pod.
    #[error("the server of the database refuses this pod: {reason}")]
    Refused {
        /// Why it does.
        fault: ServerFault,
        /// The error of the server.
        reason: String,
    },
    /// The server of the database cannot be reached, or has ended the connection.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// The lease of this pod was not renewed in time. What must not begin without it is rejected until it is renewed.
    #[error("the lease of this pod has lapsed")]
    Lapsed,
    /// Another pod has declared this one dead, so nothing of it is written any more.
    #[error("this pod was declared dead")]
    PodDead,
    /// This kind of store does not do this itself.
    #[error("{0}")]
    Unsupported(String),
    /// Redis failed, which has nothing that is not in the database too.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// Qdrant failed, which has the memories of agents.
    #[error(transparent)]
    Qdrant(#[from] QdrantError),
    /// S3 failed, after its bounded retries.
    #[error("S3 failed: {reason}")]
    S3 {
        /// How it failed.
        fault: S3Fault,
        /// The status and the code of its reply, or the error of the connection; no part of a reply or of a request.
        reason: String,
    },
    /// Any other error of the operating system or the database.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// What an operator checks after an error that has no kind of its own.
const FAILED_ADVICE: &str = "check the configured store (`store.url`, `DATABASE_URL`, or the data directory), and that this \
                             user may read and write its file and its directory";

impl StoreError {
    /// The error of the operating system for a file.
    pub(crate) fn from_io(path: &Path, error: &std::io::Error) -> Self {
        match Self::from(std::io::Error::from(error.kind())) {
            Self::Failed(_) => Self::Failed(format!("{}: {error}", path.display())),
            known => known,
        }
    }

    /// The cause that a user sees.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.as_cause(ErrorCode::StoreUnavailable)
    }

    /// The cause of a failed write to the audit, without which no call may be executed.
    #[must_use]
    pub fn audit_cause(&self) -> Cause {
        self.as_cause(ErrorCode::AuditUnavailable)
    }

    fn as_cause(&self, code: ErrorCode) -> Cause {
        let (detail, advice) = match self {
            Self::Full => ("disk_full", "free some space; accepted work is safe"),
            Self::Disk(_) => {
                ("disk", "check the disk, its quota and the limit on the size of files; accepted work is safe")
            }
            Self::ReadOnly => (
                "read_only",
                "let this user write to the data directory, or mount its disk for writing; a PostgreSQL database must be \
                 a primary whose `default_transaction_read_only` is off",
            ),
            Self::Locked => {
                ("locked", "end the other process that has greenroom.db open (`fuser` names it), and retry")
            }
            Self::InUse { owner, .. } => return self.in_use_cause(*owner),
            Self::Corrupt(_) => {
                ("corrupt", "run `greenroom db check`, and restore a backup with `greenroom db restore FILE`")
            }
            Self::Version(_) => ("version", "start the release that wrote the database"),
            Self::Unmigrated(_) => ("unmigrated", "other pods continue to work meanwhile"),
            Self::Closed => ("closed", "the process is stopping; retry later"),
            Self::Timeout => ("timeout", "the disk or the server is slow; retry later"),
            Self::OutcomeUnknown => ("outcome_unknown", "repeat the request with the same idempotency key"),
            Self::Overrun => ("overrun", "the disk is slower than the load; retry later"),
            Self::Codec(_) => ("codec", "run `greenroom db check`"),
            Self::Chain(_) => (
                "chain",
                "no call is executed; `greenroom db restore FILE` puts a backup in its place and records the break in \
                 the audit, and FILE may be this database",
            ),
            Self::HeadPruned { .. } => (
                "head_pruned",
                "the next record that this pod writes to the root chain signs a newer head, as its next start does",
            ),
            Self::OtherDatabase(_) => (
                "other_database",
                "use its own database, or a data directory of its own for this one; if the database is lost, \
                 `greenroom db restore FILE` puts a backup in its place",
            ),
            Self::OtherDirectory(_) => (
                "other_directory",
                "use the data directory that it belongs to, or another database (`store.url`, `DATABASE_URL`)",
            ),
            Self::ArtifactsNotShared { pod, location, own } => return self.not_shared_cause(pod, location, own),
            Self::Refused { fault, .. } => (fault.as_str(), fault.advice()),
            Self::Unreachable(_) => {
                ("unreachable", "check its server and its URL (`store.url`, `DATABASE_URL`); accepted work is safe")
            }
            Self::Lapsed => return self.lapsed_cause(),
            Self::PodDead => {
                let message = format!("{self}: it has not renewed its lease in time; another pod continues its runs");
                let details = serde_json::json!({ "store": "pod_dead" });
                return Cause::new(ErrorCode::LeaseLost, message).with_details(details);
            }
            Self::Unsupported(_) => return Cause::new(ErrorCode::InvalidInput, self.to_string()),
            Self::Redis(error) => (error.detail(), error.advice()),
            Self::Qdrant(error) => (error.detail(), error.advice()),
            Self::S3 { fault, .. } => (fault.as_str(), fault.advice()),
            Self::Failed(_) => ("failed", FAILED_ADVICE),
        };
        // A call whose entry may not be in the audit was not executed, so its outcome is known.
        let code = match (self, code) {
            (Self::OutcomeUnknown, ErrorCode::StoreUnavailable) => ErrorCode::OutcomeUnknown,
            (_, code) => code,
        };
        Cause::new(code, format!("{self}; {advice}")).with_details(serde_json::json!({ "store": detail }))
    }

    fn lapsed_cause(&self) -> Cause {
        let message = format!("{self}: it cannot reach its database; another pod may serve the request");
        let cause = Cause::new(ErrorCode::LeaseLost, message).with_retry_after(LAPSED_RETRY_AFTER);
        cause.with_details(serde_json::json!({ "store": "lapsed" }))
    }

    fn in_use_cause(&self, owner: Option<u32>) -> Cause {
        let message = format!("{self}; use its data directory, or a database of your own");
        let details = serde_json::json!({ "owner": owner.map(|id| id.to_string()) });
        Cause::new(ErrorCode::DataDirectoryInUse, message).with_details(details)
    }

    fn not_shared_cause(&self, pod: &str, location: &str, own: &str) -> Cause {
        let message = format!(
            "{self}; give all pods the same `s3.endpoint` and `s3.bucket` (S3_ENDPOINT, S3_BUCKET), or \
             `artifacts.shared = true` if every pod mounts one folder as DATA_DIR/artifacts"
        );
        let details = serde_json::json!({ "pod": pod, "pod_artifacts": location, "artifacts": own });
        Cause::new(ErrorCode::ArtifactsNotShared, message).with_details(details)
    }

    /// True if the database itself may be damaged, so that further writes could do harm.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt(_)
            | Self::Codec(_)
            | Self::Chain(_)
            | Self::OtherDatabase(_)
            | Self::OtherDirectory(_)
            | Self::Version(_) => true,
            Self::Full
            | Self::Disk(_)
            | Self::ReadOnly
            | Self::Locked
            | Self::InUse { .. }
            | Self::Unmigrated(_)
            | Self::Closed
            | Self::Timeout
            | Self::OutcomeUnknown
            | Self::Overrun
            | Self::HeadPruned { .. }
            | Self::ArtifactsNotShared { .. }
            | Self::Refused { .. }
            | Self::Unreachable(_)
            | Self::Lapsed
            | Self::PodDead
            | Self::Unsupported(_)
            | Self::Redis(_)
            | Self::Qdrant(_)
            | Self::S3 { .. }
            | Self::Failed(_) => false,
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Codec(error.to_string())
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            std::io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            std::io::ErrorKind::FileTooLarge => Self::Disk(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
