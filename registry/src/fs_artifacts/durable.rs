//! Files that survive a power failure: the entries of their folders are flushed too. A sweep may remove an empty folder
//! at any time, also between its creation and that of a file in it.

use std::fs;
use std::io;
use std::path::Path;

/// How often a folder is created again that a sweep has removed.
const ATTEMPTS_MAX: usize = 16;

/// Creates the folder of a file, and executes `create`, which creates the file.
pub(super) fn in_folder(root: &Path, path: &Path, create: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(root);
    for _ in 1..ATTEMPTS_MAX {
        fs::create_dir_all(folder)?;
        match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
    }
    fs::create_dir_all(folder)?;
    create()
}

/// Flushes the entries of each folder from that of the file to the root.
pub(super) fn flush_folders(root: &Path, path: &Path) -> io::Result<()> {
    for folder in path.ancestors().skip(1) {
        fs::File::open(folder)?.sync_all()?;
        if folder == root {
            break;
        }
    }
    Ok(())
}
