//! `greenroom definitions check`: prints every problem of every file with its location.

use std::path::{Path, PathBuf};

use greenroom_definitions::{Report, Source};
use greenroom_protocol::{Cause, ErrorCode};

use super::args::DefinitionsCommand;
use super::output::Output;
use crate::compose::blocking::run_blocking;
use crate::compose::catalogue;
use crate::config::Config;

/// Executes the command. It runs and stores nothing, so it needs no data directory.
///
/// # Errors
/// [`ErrorCode::InvalidPolicy`] if the bundle, which owns the names of policies, cannot be read.
pub async fn definitions(config: Config, command: DefinitionsCommand, output: Output) -> Result<u8, Cause> {
    let DefinitionsCommand::Check { path } = command;
    let report = run_blocking(move || check(&config, path)).await??;
    let document = serde_json::to_value(&report).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
    output.document(&document, || report.to_string());
    Ok(if report.has_errors() { ErrorCode::InvalidDefinition.exit_code() } else { 0 })
}

fn check(config: &Config, path: Option<PathBuf>) -> Result<Report, Cause> {
    let known_names = catalogue::known_names(config)?;
    let path = path.or_else(|| config.definitions_dir.clone());
    match path.as_deref() {
        Some(file) if file.is_file() => {
            Ok(greenroom_definitions::check_file(file, &catalogue::source(config), &known_names))
        }
        Some(dir) => check_directory(dir, &known_names),
        None => Ok(greenroom_definitions::load(&Source::Embedded, &known_names).report),
    }
}

fn check_directory(dir: &Path, known_names: &greenroom_definitions::KnownNames) -> Result<Report, Cause> {
    if !dir.is_dir() {
        let message = format!("{} is neither a file nor a directory", dir.display());
        return Err(Cause::new(ErrorCode::InvalidInput, message));
    }
    Ok(greenroom_definitions::load(&Source::Directory(dir.to_owned()), known_names).report)
}
