//! The lock of one database. It is on the database itself, so that two processes never write one file,
//! whatever their data directories are and whatever happens to a lock file.

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::StoreError;

/// A file of one device.
type FileId = (u64, u64);

/// The files that this process has locked. Closing a descriptor of a file releases every lock that SQLite has
/// on it in this process, so a file of this set must not be opened a second time only to find it locked.
static LOCKED_HERE: Mutex<BTreeSet<FileId>> = Mutex::new(BTreeSet::new());

/// Proof that this process alone writes a database; dropping it releases the lock. The operating system releases
/// it when the process ends.
#[derive(Debug)]
pub(super) struct OwnerLock {
    id: FileId,
    _file: File,
}

impl OwnerLock {
    /// Locks the database at `path`, which is created if it is missing.
    pub(super) fn acquire(path: &Path) -> Result<Self, StoreError> {
        let unusable = |error: std::io::Error| open_error(path, error);
        if path.is_dir() {
            return Err(StoreError::Failed(format!("{} is a directory, and a database is a file", path.display())));
        }
        let lock_file = lock_file(path);
        let in_use = |owner| StoreError::InUse { database: path.to_owned(), owner };
        if let Ok(metadata) = std::fs::metadata(&lock_file)
            && locked_here().contains(&file_id(&metadata))
        {
            return Err(in_use(Some(std::process::id())));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&lock_file).map_err(unusable)?;
        let metadata = file.metadata().map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(find_owner(&metadata))),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let id = file_id(&metadata);
        locked_here().insert(id);
        Ok(Self { id, _file: file })
    }
}

impl Drop for OwnerLock {
    fn drop(&mut self) {
        locked_here().remove(&self.id);
    }
}

/// The file that is locked: the database. Where the system does not separate this kind of lock from the kind
/// that SQLite uses, it is a file beside the database.
fn lock_file(path: &Path) -> PathBuf {
    if cfg!(target_os = "linux") {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn locked_here() -> std::sync::MutexGuard<'static, BTreeSet<FileId>> {
    LOCKED_HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn file_id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

fn open_error(path: &Path, error: std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => StoreError::ReadOnly,
        std::io::ErrorKind::NotFound => StoreError::Failed(format!("{}: its directory does not exist", path.display())),
        std::io::ErrorKind::IsADirectory | std::io::ErrorKind::NotADirectory => {
            StoreError::Failed(format!("{}: {error}", path.display()))
        }
        _ => error.into(),
    }
}

/// The process that has locked a file, where the kernel has a list of locks and shows this process.
fn find_owner(metadata: &Metadata) -> Option<u32> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let inode = metadata.ino().to_string();
    // `1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF`
    let owner = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, process, file) = (words.next()?, words.nth(2)?, words.next()?);
        let is_same_file = file.rsplit(':').next() == Some(inode.as_str());
        (kind == "FLOCK" && is_same_file).then(|| process.parse().ok()).flatten().filter(|id| *id > 0)
    };
    locks.lines().find_map(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_has_one_owner_under_any_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("x.db"), dir.path().join("link.db"));
        let lock = OwnerLock::acquire(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for name in [&path, &link] {
            let error = OwnerLock::acquire(name).unwrap_err();
            assert!(matches!(&error, StoreError::InUse { owner: Some(owner), .. } if *owner == std::process::id()));
        }
        drop(lock);
        drop(OwnerLock::acquire(&link).unwrap());
        assert!(
            matches!(OwnerLock::acquire(&dir.path().join("none/x.db")), Err(StoreError::Failed(text)) if text.contains("none/x.db: its directory does not exist"))
        );
        assert!(
            matches!(OwnerLock::acquire(dir.path()), Err(StoreError::Failed(text)) if text.contains("is a directory"))
        );
    }

    #[test]
    fn the_kernel_names_the_process_that_has_locked_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let lock = OwnerLock::acquire(&dir.path().join("x.db")).unwrap();
        let metadata = lock._file.metadata().unwrap();
        if Path::new("/proc/locks").exists() {
            assert_eq!(find_owner(&metadata), Some(std::process::id()));
        }
    }
}
