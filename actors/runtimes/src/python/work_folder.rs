//! The working folder of one process: it is measured during calls, and removed with the process.
//!
//! A handler makes of it what it wants: folders in folders until no path reaches the innermost one, folders that cannot be
//! read, links. So nothing here follows a link or recurses, and what cannot be measured exceeds the bound.

use std::ffi::{CStr, CString};
use std::fs::Permissions;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use greenroom_actors::concurrency::spawn_blocking;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Files of a working folder; more of them exceed the bound whatever their size.
const FILES_MAX: usize = 10_000;
/// Folders around a file.
const DEPTH_MAX: usize = 32;
/// Entries that are read at a time to remove them.
const ENTRIES_MAX: usize = 10_000;
/// Passes over a folder that is removed; each one removes a level, or as many entries as are read at a time.
const PASSES_MAX: u32 = 10_000_000;
/// Mode of a folder whose entries are removed.
const OWNER: u32 = 0o700;

/// The files of a process exceed their bound, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the handler has written more than {0} bytes, more than {FILES_MAX} files, or some that cannot be counted: within more \
     than {DEPTH_MAX} folders, or in one that cannot be read"
)]
pub(super) struct FilesExceeded(pub(super) u64);

/// The folder. Dropping it removes it.
#[derive(Debug)]
pub(super) struct WorkFolder(PathBuf);

impl WorkFolder {
    /// Creates an empty folder.
    ///
    /// # Errors
    /// Those of the file system; also if it exists.
    pub(super) fn create(parent: &Path, name: &str) -> Result<Self> {
        let path = parent.join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// True if its files are too many or too large together, or cannot be counted.
    pub(super) async fn exceeds(&self, bytes_max: u64) -> bool {
        let path = self.0.clone();
        spawn_blocking(move || exceeds(&path, bytes_max)).await.unwrap_or(true)
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // It is empty after a call that has ended in order.
        if std::fs::remove_dir(&self.0).is_ok() {
            return;
        }
        let path = std::mem::take(&mut self.0);
        let remove = move || {
            if let Err(error) = remove_tree(&path) {
                // It is removed at the next start of the pod.
                tracing::warn!(folder = %path.display(), error.message = %error, "a working folder cannot be removed");
            }
        };
        if tokio::runtime::Handle::try_current().is_ok() {
            drop(spawn_blocking(remove));
        } else {
            remove();
        }
    }
}

fn exceeds(folder: &Path, bytes_max: u64) -> bool {
    let (mut folders, mut bytes, mut files) = (vec![(folder.to_owned(), 0_usize)], 0_u64, 0_usize);
    while let Some((folder, depth)) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidFilename) => {
                return true;
            }
            // It was removed meanwhile.
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            files += 1;
            bytes = bytes.saturating_add(metadata.len());
            if files > FILES_MAX || bytes > bytes_max || depth > DEPTH_MAX {
                return true;
            }
            if metadata.is_dir() {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    false
}

/// Removes a folder and everything in it. Its inner folders are moved to its first level before their own inner ones are
/// removed, so neither their depth nor the length of their paths matters.
///
/// # Errors
/// Those of the file system.
pub(super) fn remove_tree(path: &Path) -> Result<()> {
    // The handler may have removed its own rights.
    let _ = std::fs::set_permissions(path, Permissions::from_mode(OWNER));
    let mut next_name = 0_u64;
    for _ in 0..PASSES_MAX {
        let mut root = match Dir::open(path, folder_flags(), Mode::empty()) {
            Ok(root) => root,
            Err(Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let names = entry_names(&mut root)?;
        if names.is_empty() {
            return std::fs::remove_dir(path);
        }
        for name in names {
            remove_entry(&root, &name, &mut next_name)?;
        }
    }
    Err(Error::other("the folder has too many entries"))
}

/// Removes an entry; if it is a folder, its inner folders become entries of the root.
fn remove_entry(root: &Dir, name: &CStr, next_name: &mut u64) -> Result<()> {
    if !is_folder_after_unlink(root, name)? {
        return Ok(());
    }
    // A link in its position, which only a process that is just being killed could put there, gets the rights of a folder
    // and is not opened.
    let _ = fchmodat(root, name, Mode::from_bits_truncate(OWNER), FchmodatFlags::FollowSymlink);
    let mut folder = Dir::openat(root, name, folder_flags(), Mode::empty())?;
    fchmod(&folder, Mode::from_bits_truncate(OWNER))?;
    for inner in entry_names(&mut folder)? {
        if is_folder_after_unlink(&folder, &inner)? {
            // To move a folder needs the right to write into it.
            let _ = fchmodat(&folder, &*inner, Mode::from_bits_truncate(OWNER), FchmodatFlags::FollowSymlink);
            move_up(&folder, &inner, root, next_name)?;
        }
    }
    match unlinkat(root, name, UnlinkatFlags::RemoveDir) {
        // It has more entries than were read, which the next pass finds.
        Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn move_up(folder: &Dir, inner: &CStr, root: &Dir, next_name: &mut u64) -> Result<()> {
    loop {
        let name = format!(".{next_name}");
        *next_name += 1;
        match renameat(folder, inner, root, name.as_str()) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            // Another entry has this name.
            Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes an entry that is no folder; true if it is one.
fn is_folder_after_unlink(folder: &Dir, name: &CStr) -> Result<bool> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(false),
        Err(Errno::EISDIR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn entry_names(folder: &mut Dir) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in folder.iter().take(ENTRIES_MAX) {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn folder_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Folders in folders, deeper than a path can name.
    fn nest(root: &Path, levels: usize) {
        let mut folder = Dir::open(root, folder_flags(), Mode::empty()).unwrap();
        for _ in 0..levels {
            nix::sys::stat::mkdirat(&folder, "deeper", Mode::from_bits_truncate(OWNER)).unwrap();
            folder = Dir::openat(&folder, "deeper", folder_flags(), Mode::empty()).unwrap();
        }
    }

    #[test]
    fn files_are_counted_with_those_of_inner_folders() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/b/file"), vec![0; 100_000]).unwrap();
        assert!(!exceeds(root.path(), 1_000_000) && exceeds(root.path(), 99_999));
        symlink("/", root.path().join("a/link")).unwrap();
        assert!(!exceeds(root.path(), 1_000_000), "a link is not followed");
    }

    #[test]
    fn what_is_too_deep_to_be_counted_exceeds_the_bound_and_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let folder = WorkFolder::create(root.path(), "work").unwrap();
        nest(folder.path(), DEPTH_MAX + 2);
        assert!(exceeds(folder.path(), u64::MAX));
        nest(root.path(), 5_000);
        drop(folder);
        assert!(!root.path().join("work").exists());
        let path = root.path().to_owned();
        remove_tree(&path).unwrap();
        assert!(!path.exists());
        fs::create_dir(path).unwrap();
    }

    #[test]
    fn what_cannot_be_read_is_removed_and_the_target_of_a_link_is_not() {
        let root = tempfile::tempdir().unwrap();
        let (work, outside) = (root.path().join("work"), root.path().join("outside"));
        fs::create_dir_all(work.join("closed/inner")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "content").unwrap();
        fs::write(work.join("closed/inner/file"), "content").unwrap();
        fs::create_dir(work.join(".0")).unwrap();
        fs::write(work.join(".0/file"), "content").unwrap();
        symlink(&outside, work.join("link")).unwrap();
        for closed in ["closed/inner", "closed", ""] {
            fs::set_permissions(work.join(closed), Permissions::from_mode(0o0)).unwrap();
        }
        remove_tree(&work).unwrap();
        assert!(!work.exists() && outside.join("file").exists());
        remove_tree(&work).unwrap();
    }

    #[test]
    fn more_entries_than_are_read_at_a_time_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let work = root.path().join("work");
        fs::create_dir_all(work.join("inner")).unwrap();
        for number in 0..ENTRIES_MAX + 10 {
            fs::write(work.join(format!("inner/{number}")), "").unwrap();
        }
        assert!(exceeds(&work, u64::MAX), "too many files");
        remove_tree(&work).unwrap();
        assert!(!work.exists());
    }
}
