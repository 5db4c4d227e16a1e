//! `greenroom definitions check`: prints every problem of every file with its location.

use std::path::Path;

use greenroom_definitions::{Report, Source};
use greenroom_protocol::{Cause, ErrorCode};

use super::args::DefinitionsCommand;
use super::output::Output;
use crate::compose::catalogue;
use crate::config::Config;

/// Executes the command. It runs and stores nothing, so it needs no data directory.
///
/// # Errors
/// [`ErrorCode::InvalidPolicy`] if the bundle, which owns the names of policies, cannot be read.
pub fn definitions(config: &Config, command: DefinitionsCommand, output: Output) -> Result<u8, Cause> {
    let DefinitionsCommand::Check { path } = command;
    let known_names = catalogue::known_names(config)?;
    let path = path.or_else(|| config.definitions_dir.clone());
    let report = match path.as_deref() {
        Some(file) if file.is_file() => {
            greenroom_definitions::check_file(file, &catalogue::source(config), &known_names)
        }
        Some(dir) => check_directory(dir, &known_names)?,
        None => greenroom_definitions::load(&Source::Embedded, &known_names).report,
    };
    let document = serde_json::to_value(&report).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
    output.document(&document, || report.to_string());
    Ok(if report.has_errors() { ErrorCode::InvalidDefinition.exit_code() } else { 0 })
}

fn check_directory(dir: &Path, known_names: &greenroom_definitions::KnownNames) -> Result<Report, Cause> {
    if !dir.is_dir() {
        let message = format!("{} is neither a file nor a directory", dir.display());
        return Err(Cause::new(ErrorCode::InvalidInput, message));
    }
    Ok(greenroom_definitions::load(&Source::Directory(dir.to_owned()), known_names).report)
}
