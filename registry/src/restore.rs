//! A backup in the place of a database. The audit names the break: whose command it was, where the restored chain
//! ends, and where the replaced one did.

use std::path::{Path, PathBuf};

use greenroom_protocol::audit::Restored;
use greenroom_protocol::{Cause, ErrorCode};

use crate::error::StoreError;

/// Why a backup was not restored. Nothing was replaced.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RestoreError {
    /// The file is no backup that can be restored here.
    #[error("{} cannot be restored: {reason}", .backup.display())]
    Backup {
        /// The file.
        backup: PathBuf,
        /// The first problem of the file.
        reason: String,
    },
    /// The database cannot be replaced.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RestoreError {
    /// The cause that a user sees.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Backup { .. } => Cause::new(ErrorCode::InvalidInput, self.to_string()),
            Self::Store(error) => error.cause(),
        }
    }
}

/// What was changed in a PostgreSQL database that is a restored copy, before its pods start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RaisedCopy {
    /// Nothing, because these pods are alive.
    PodsAlive(Vec<String>),
    /// The fences of trees of runs that have not ended and the ids of pods are raised.
    Raised {
        /// The number of these trees.
        trees: u64,
        /// Pods of the copy that were declared dead.
        pods: u64,
    },
}

/// A verified copy of a backup beside the database; dropping it removes the copy.
#[derive(Debug)]
pub struct StagedRestore {
    pub(crate) backup: PathBuf,
    pub(crate) database: PathBuf,
    pub(crate) copy: PathBuf,
}

impl StagedRestore {
    /// The copy, which is a database of its own.
    #[must_use]
    pub fn copy(&self) -> &Path {
        &self.copy
    }

    /// The file of the newest signed head of the copy, while the copy is used in the place of the database.
    #[must_use]
    pub fn head_file(&self) -> PathBuf {
        with_suffix(&self.copy, ".head")
    }

    /// Removes the copy and what belongs to it. A file that does not exist is no error.
    pub(crate) fn remove_files(&self) -> std::io::Result<()> {
        for file in ["", "-wal", "-shm", "-journal", ".head"].map(|suffix| with_suffix(&self.copy, suffix)) {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

impl Drop for StagedRestore {
    fn drop(&mut self) {
        // What remains is replaced by the next copy.
        let _ = self.remove_files();
    }
}

/// The result of a restoration.
#[derive(Debug, Clone)]
pub struct RestoreReport {
    /// The database that was replaced, under its new name; `None` if there was none.
    pub replaced: Option<PathBuf>,
    /// The number of the record that names the break.
    pub number: u64,
    /// The break.
    pub restored: Restored,
}

/// The path with a suffix after its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
