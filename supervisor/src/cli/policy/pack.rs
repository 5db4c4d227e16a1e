//! `greenroom policy pack`: replaces the Rego text of a bundle by the complete sources, and checks the result as
//! `policy check` does. A bundle that a pod would reject is not written.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use greenroom_protocol::{Cause, ErrorCode, Json};
use greenroom_rego::Bundle;
use greenroom_rego::bundle::{UNPACKED_BYTES_MAX, complete_text, read_bytes};

use super::check::{exit_code, format_report, report};
use crate::cli::args::PackArgs;
use crate::cli::artifacts::unwritable;
use crate::cli::output::Output;
use crate::compose;
use crate::compose::blocking::run_blocking;
use crate::config::Config;

/// Maximum Rego files and folders among the sources. A bundle has fewer, but tests may be beside its sources.
const PATHS_MAX: usize = 4_096;

/// Executes the command.
///
/// # Errors
/// [`ErrorCode::InvalidPolicy`] if the bundle was not built from the sources, or if a pod rejects the result;
/// [`ErrorCode::PathNotAllowed`] if a file cannot be read or written; [`ErrorCode::InvalidInput`]. Nothing is written
/// then. A rule on a path that the input never has is reported as `policy check` does.
pub(super) async fn pack(config: Config, args: PackArgs, output: Output) -> Result<u8, Cause> {
    let PackArgs { bundle, sources, out } = args;
    let target = out.clone();
    let (bytes, bundle) = run_blocking(move || complete(&bundle, &sources, &target)).await??;
    let (snapshot, _) = compose::policy::compile(&config, bundle).await?;
    let tried = snapshot.try_read_set().await?;
    let path = std::path::absolute(&out).map_err(|error| unwritable(&out, &error))?;
    let target = path.clone();
    run_blocking(move || replace_file(&target, &bytes)).await??;
    let mut document = report(&snapshot, tried);
    if let Some(members) = document.as_object_mut() {
        members.insert("file".to_owned(), Json::String(path.display().to_string()));
    }
    output.document(&document, || format!("{}\n{}", path.display(), format_report(&snapshot, tried)));
    Ok(exit_code(&snapshot))
}

/// The bundle with its complete text: its bytes, and what is in them.
fn complete(bundle: &Path, sources: &[PathBuf], out: &Path) -> Result<(Vec<u8>, Bundle), Cause> {
    let bytes = read_bytes(bundle)?;
    let files = read_sources(sources)?;
    require_no_source(out, &files)?;
    let bytes = complete_text::pack(&bytes, &files)?;
    let bundle = Bundle::read(&bytes)?;
    Ok((bytes, bundle))
}

/// Reads the Rego files among these paths and in the folders among them. Links to folders are not followed, and other
/// files are ignored, so the arguments may be those of `opa build`.
fn read_sources(paths: &[PathBuf]) -> Result<BTreeMap<String, Vec<u8>>, Cause> {
    let mut files = BTreeMap::new();
    let (mut paths_read, mut bytes_read) = (0, 0);
    let mut pending = paths.to_vec();
    while let Some(path) = pending.pop() {
        let unreadable = |error: io::Error| {
            Cause::new(ErrorCode::PathNotAllowed, format!("{} cannot be read: {error}", path.display()))
        };
        let metadata = fs::metadata(&path).map_err(unreadable)?;
        if metadata.is_dir() {
            pending.extend(list_folder(&path).map_err(unreadable)?);
        } else if metadata.is_file() && is_rego(&path) {
            let content = read_file(&path).map_err(unreadable)?;
            bytes_read += content.len();
            let name = path.to_str().ok_or_else(|| unreadable(io::Error::other("its name is not UTF-8")))?;
            files.insert(name.to_owned(), content);
        }
        paths_read += 1;
        if paths_read > PATHS_MAX || bytes_read as u64 > UNPACKED_BYTES_MAX {
            let message = format!(
                "the sources have more than {UNPACKED_BYTES_MAX} bytes, or more than {PATHS_MAX} files and folders"
            );
            return Err(Cause::new(ErrorCode::InvalidInput, message));
        }
    }
    Ok(files)
}

/// The folders and the Rego files in a folder.
fn list_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() || (is_rego(&path) && !path.is_dir()) {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn is_rego(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rego")
}

/// Reads a file; of one that is too large, one byte more than is allowed.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// Rejects an output that is one of the sources, which it would destroy.
fn require_no_source(out: &Path, sources: &BTreeMap<String, Vec<u8>>) -> Result<(), Cause> {
    // A file that does not exist is no source.
    let Ok(target) = out.canonicalize() else { return Ok(()) };
    let mut sources = sources.keys().map(|source| Path::new(source).canonicalize());
    if sources.any(|source| source.is_ok_and(|source| source == target)) {
        let message = format!("{} is one of the sources; name another file", out.display());
        return Err(Cause::new(ErrorCode::InvalidInput, message));
    }
    Ok(())
}

/// Writes a file. A reader sees either the old content or the new one, so a pod may use the file meanwhile.
fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), Cause> {
    // A link remains one: the file that it names is replaced.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let staging = path.with_file_name(name);
    write_new(&staging, bytes).and_then(|()| fs::rename(&staging, &path)).map_err(|error| {
        // The error of the write is reported; a staging file that cannot be removed changes nothing about it.
        let _ = fs::remove_file(&staging);
        unwritable(&path, &error)
    })
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
