//! What can go wrong with a store, told apart where the answer differs: a full disk is not a locked
//! file, and neither is a broken one. What a user sees of it is decided here too.

use protocol::{Cause, ErrorCode};

use greenroom_protocol as protocol;

/// Why a store did not do what was asked. Nothing of the request was kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// There is no room for another byte; work that was accepted is safe, new work is refused.
    #[error("the disk is full")]
    Full,
    /// The operating system refused a read or a write: a broken disk, or a limit on the size of files.
    #[error("the disk refused: {0}")]
    Disk(String),
    /// The database may be read and not written.
    #[error("the database is read-only")]
    ReadOnly,
    /// Another process holds the database.
    #[error("the database is locked by another process")]
    Locked,
    /// The file is damaged, or is no database of ours.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// The database was written by a newer release.
    #[error("the database does not fit this release: {0}")]
    Version(String),
    /// The writer has ended, since the process is stopping.
    #[error("the store is closed")]
    Closed,
    /// The store did not answer within [`crate::commit::COMMIT_WAIT_MAX`].
    #[error("the store did not answer in time")]
    Timeout,
    /// More is waiting to be written than [`crate::commit::QUEUE_LENGTH_MAX`].
    #[error("the store has more to write than it can hold")]
    Overrun,
    /// A stored value cannot be read back, or a value cannot be stored.
    #[error("a stored value cannot be read: {0}")]
    Codec(String),
    /// The signed head does not cover what the audit holds.
    #[error("the audit chain does not hold: {0}")]
    Chain(String),
    /// Anything else that the operating system or the database says.
    #[error("the store failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// The cause that a user sees.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.as_cause(ErrorCode::StoreUnavailable)
    }

    /// The same for the audit, without which nothing may be done.
    #[must_use]
    pub fn audit_cause(&self) -> Cause {
        self.as_cause(ErrorCode::AuditUnavailable)
    }

    fn as_cause(&self, code: ErrorCode) -> Cause {
        let (what, advice) = match self {
            Self::Full => ("disk_full", "free some space; nothing that was accepted is lost"),
            Self::Disk(_) => (
                "disk",
                "look at the disk, its quota and the limit on the size of files; nothing that was accepted is lost",
            ),
            Self::ReadOnly => ("read_only", "let this user write to the data directory, or mount its disk for writing"),
            Self::Locked => {
                ("locked", "end the other process that has greenroom.db open (`fuser` names it), and ask again")
            }
            Self::Corrupt(_) => ("corrupt", "run `greenroom db check`, and restore a backup"),
            Self::Version(_) => ("version", "start the release that wrote the database"),
            Self::Closed => ("closed", "the process is stopping; ask again"),
            Self::Timeout => ("late", "the disk is slow; ask again"),
            Self::Overrun => ("overrun", "the disk is slower than the load; ask again"),
            Self::Codec(_) => ("codec", "run `greenroom db check`"),
            Self::Chain(_) => ("chain", "nothing is done on top of it; put back a copy of the database that has it"),
            Self::Failed(_) => ("failed", "the log has the rest"),
        };
        Cause::new(code, format!("{self}; {advice}")).with_details(serde_json::json!({ "store": what }))
    }

    /// True if the database itself may be wrong, so that going on could do harm.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt(_) | Self::Codec(_) | Self::Chain(_) | Self::Version(_) => true,
            Self::Full
            | Self::Disk(_)
            | Self::ReadOnly
            | Self::Locked
            | Self::Closed
            | Self::Timeout
            | Self::Overrun
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
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_from_other_failures() {
        let full = StoreError::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert!(matches!(full, StoreError::Full));
        let cause = full.cause();
        assert_eq!(cause.code, ErrorCode::StoreUnavailable);
        assert_eq!(cause.details, serde_json::json!({"store": "disk_full"}));
        assert_eq!(full.audit_cause().code, ErrorCode::AuditUnavailable);
    }
}
