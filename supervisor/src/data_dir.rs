//! The lock of the data directory. One process at a time owns it, so that two never fork the chain of
//! the audit or spend one budget twice. The operating system releases the lock when its owner ends.
//!
//! A lock file can be removed while its owner lives. So a process that listens on the control socket of the
//! directory is its owner too. The database has a lock of its own, in the registry.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use greenroom_protocol::{Cause, ErrorCode};

use crate::ingress::control::socket_file::find_listener;

/// The file in the data directory that is locked.
const LOCK_FILE: &str = "greenroom.lock";
/// The control socket in the data directory.
pub const CONTROL_SOCKET: &str = "control.sock";
/// Stands for the id of an owner that has not written it yet.
const UNKNOWN_OWNER: &str = "of unknown id";
/// Bytes that are read of the owner's line.
const OWNER_BYTES_MAX: u64 = 128;

/// Why the lock cannot be acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process owns it.
    #[error("the data directory {dir} belongs to process {owner}")]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The owner's process id, as the owner wrote it.
        owner: String,
    },
    /// It cannot be created or opened.
    #[error("the data directory {dir} cannot be used: {reason}")]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// The error of the operating system.
        reason: String,
    },
}

impl From<LockError> for Cause {
    fn from(error: LockError) -> Self {
        match &error {
            LockError::InUse { owner, .. } => Cause::new(ErrorCode::DataDirectoryInUse, error.to_string())
                .with_details(serde_json::json!({ "owner": owner })),
            LockError::Unusable { .. } => Cause::new(ErrorCode::StoreUnavailable, error.to_string()),
        }
    }
}

/// Proof that this process owns the data directory; dropping it releases the lock.
#[derive(Debug)]
pub struct DataDirLock {
    path: PathBuf,
    _lock: File,
}

impl DataDirLock {
    /// Creates the directory if it is missing (readable by its owner only) and tries the lock once.
    ///
    /// # Errors
    /// [`LockError`] if another process holds it or the directory cannot be used.
    pub async fn acquire(dir: &Path) -> Result<Self, LockError> {
        let unusable = |error: std::io::Error| LockError::Unusable { dir: dir.to_owned(), reason: error.to_string() };
        create_private(dir).map_err(|error| LockError::Unusable {
            dir: dir.to_owned(),
            reason: describe(dir).map_or_else(|| error.to_string(), str::to_owned),
        })?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(LOCK_FILE))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::InUse { dir: dir.to_owned(), owner: read_owner(&file) });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        if let Some(listener) = find_listener(&dir.join(CONTROL_SOCKET)).await {
            let owner = listener.process.map_or_else(|| UNKNOWN_OWNER.to_owned(), |id| id.to_string());
            return Err(LockError::InUse { dir: dir.to_owned(), owner });
        }
        write_owner(&file).map_err(unusable)?;
        Ok(Self { path: dir.to_owned(), _lock: file })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What is where a directory cannot be created.
fn describe(dir: &Path) -> Option<&'static str> {
    match (std::fs::metadata(dir), std::fs::symlink_metadata(dir)) {
        (Ok(found), _) => (!found.is_dir()).then_some("it is not a directory"),
        (Err(_), Ok(link)) => link.is_symlink().then_some("it is a link that leads nowhere"),
        (Err(_), Err(_)) => None,
    }
}

fn create_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn read_owner(mut file: &File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(OWNER_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => UNKNOWN_OWNER.to_owned(),
    }
}

fn write_owner(mut file: &File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_owner_is_rejected_with_the_process_id_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDirLock::acquire(dir.path()).await.unwrap();
        let error = DataDirLock::acquire(dir.path()).await.unwrap_err();
        assert!(matches!(&error, LockError::InUse { owner, .. } if *owner == std::process::id().to_string()));
        assert_eq!(Cause::from(error).code, ErrorCode::DataDirectoryInUse);
        drop(first);
        DataDirLock::acquire(dir.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_and_a_link_that_leads_nowhere_are_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(dir.path().join("none"), &link).unwrap();
        for (path, reason) in [(file, "it is not a directory"), (link, "it is a link that leads nowhere")] {
            let error = DataDirLock::acquire(&path).await.unwrap_err();
            assert!(error.to_string().ends_with(reason), "{error}");
        }
    }

    #[tokio::test]
    async fn a_process_that_listens_on_the_control_socket_is_the_owner_without_a_lock_file() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDirLock::acquire(dir.path()).await.unwrap();
        let listener = tokio::net::UnixListener::bind(dir.path().join(CONTROL_SOCKET)).unwrap();
        std::fs::remove_file(dir.path().join(LOCK_FILE)).unwrap();
        let error = DataDirLock::acquire(dir.path()).await.unwrap_err();
        assert!(matches!(&error, LockError::InUse { owner, .. } if *owner == std::process::id().to_string()));
        drop((listener, first));
        DataDirLock::acquire(dir.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_created_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let error = DataDirLock::acquire(&file.join("data")).await.unwrap_err();
        assert_eq!(Cause::from(error).code, ErrorCode::StoreUnavailable);
    }
}
