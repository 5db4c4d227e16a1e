//! `greenroom definitions`: prints every problem of every file with its location, or applies definitions for every pod.

use std::path::{Path, PathBuf};

use greenroom_definitions::{KnownNames, Report, Source};
use greenroom_protocol::request::Maintenance;
use greenroom_protocol::{Cause, ErrorCode, Json};

use super::args::OutputFormat;
use super::db::location;
use super::output::{Output, print_note};
use super::runs::format_report;
use super::session::Session;
use crate::compose::blocking::run_blocking;
use crate::compose::catalogue;
use crate::config::{Config, SourceLocation};

/// Executes `check`. It runs and stores nothing, so it needs no data directory.
///
/// # Errors
/// [`ErrorCode::InvalidPolicy`] if the bundle, which owns the names of policies, cannot be read; those of a bucket.
pub async fn check(config: Config, path: Option<PathBuf>, output: Output) -> Result<u8, Cause> {
    let known_names = catalogue::known_names(&config).await?;
    let report = match path {
        Some(file) if file.is_file() => {
            let source = catalogue::source(&config).await?;
            run_blocking(move || greenroom_definitions::check_file(&file, &source, &known_names)).await?
        }
        Some(dir) => {
            let definitions = Some(parse_location(&dir)?);
            check_source(Config { definitions, ..config }, known_names).await?
        }
        None => check_source(config, known_names).await?,
    };
    let document = serde_json::to_value(&report).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))?;
    output.document(&document, || report.to_string());
    Ok(if report.has_errors() { ErrorCode::InvalidDefinition.exit_code() } else { 0 })
}

/// The location that an argument names.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] for a URL that is none of a bucket.
pub(super) fn parse_location(path: &Path) -> Result<SourceLocation, Cause> {
    let invalid = |problem| Cause::new(ErrorCode::InvalidInput, problem);
    let text = path.to_str().ok_or_else(|| invalid(format!("{}: the path is not UTF-8", path.display())))?;
    SourceLocation::parse(text).map_err(invalid)
}

async fn check_source(config: Config, known_names: KnownNames) -> Result<Report, Cause> {
    let source = catalogue::source(&config).await?;
    if let Source::Directory(dir) = &source
        && !dir.is_dir()
    {
        let message = format!("{} is neither a file nor a directory", dir.display());
        return Err(Cause::new(ErrorCode::InvalidInput, message));
    }
    run_blocking(move || greenroom_definitions::load(&source, &known_names).report).await
}

/// Executes `apply`.
///
/// # Errors
/// The cause of a denied or rejected request; in the format for reading, every problem is printed before it.
pub async fn apply(session: &Session, source: &str, output: Output) -> Result<u8, Cause> {
    let applied = session.maintain(Maintenance::ApplyDefinitions { from: location(source)? }).await;
    let report = applied.inspect_err(|cause| {
        if output.format() == OutputFormat::Table {
            print_problems(cause);
        }
    })?;
    output.document(&report, || format_report(&report));
    Ok(0)
}

/// Prints the problems of a cause, one in a line.
fn print_problems(cause: &Cause) {
    let problems = cause.details.get("problems").and_then(Json::as_array);
    for problem in problems.into_iter().flatten() {
        let text = |pointer: &str| match problem.pointer(pointer) {
            Some(Json::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let at = format!("{}:{}:{}", text("/location/file"), text("/location/line"), text("/location/column"));
        let expected = Some(text("/expected")).filter(|expected| !expected.is_empty());
        let expected = expected.map(|expected| format!("; {expected}")).unwrap_or_default();
        print_note(&format!("{at}: {}[{}]: {}{expected}", text("/severity"), text("/kind"), text("/found")));
    }
}
