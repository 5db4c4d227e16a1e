//! Finds the programs of this workspace beside the one that runs: a test, or a program of the harness.

use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::{Context, ensure};

/// Path of a program of this workspace.
///
/// # Errors
/// If it was not built.
pub fn find_program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("a program is in a folder")?;
    // A test is in the folder `deps` below the programs.
    let is_test = folder.file_name() == Some(OsStr::new("deps"));
    let folder = if is_test { folder.parent().unwrap_or(folder) } else { folder };
    let program = folder.join(name);
    ensure!(
        program.is_file(),
        "{} is missing: `cargo build --workspace` and `cargo test --workspace` build it",
        program.display()
    );
    Ok(program)
}
