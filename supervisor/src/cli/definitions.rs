//! `greenroom definitions`: prints every problem of every file with its location, or applies definitions for every pod.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use greenroom_definitions::{Catalogue, KnownNames, LoadOutcome, Report, Source};
use greenroom_protocol::request::Maintenance;
use greenroom_protocol::{Cause, ErrorCode, Json};
use serde::Serialize;

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
    let (report, counts) = match path {
        Some(file) if file.is_file() => {
            let source = catalogue::source(&config).await?;
            let report = run_blocking(move || greenroom_definitions::check_file(&file, &source, &known_names)).await?;
            (report, None)
        }
        Some(dir) => {
            let definitions = Some(parse_location(&dir)?);
            check_source(Config { definitions, ..config }, known_names).await?
        }
        None => check_source(config, known_names).await?,
    };
    let failed = |error: serde_json::Error| Cause::new(ErrorCode::Internal, error.to_string());
    let mut document = serde_json::to_value(&report).map_err(failed)?;
    if let (Some(members), Some(counts)) = (document.as_object_mut(), &counts) {
        members.insert("definitions".to_owned(), serde_json::to_value(counts).map_err(failed)?);
    }
    output.document(&document, || match &counts {
        Some(counts) => format!("{report}\n{counts}"),
        None => report.to_string(),
    });
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

/// The numbers of definitions that are in service.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Counts {
    agents: usize,
    /// The number of agents of each category that has one.
    categories: BTreeMap<String, usize>,
    teams: usize,
    workflows: usize,
}

impl Counts {
    fn new(catalogue: &Catalogue) -> Self {
        let mut categories: BTreeMap<String, usize> = BTreeMap::new();
        for agent in catalogue.agent_summaries() {
            *categories.entry(agent.category.to_string()).or_default() += 1;
        }
        Self {
            agents: catalogue.agent_count(),
            categories,
            teams: catalogue.team_count(),
            workflows: catalogue.workflow_count(),
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agents, categories, teams, workflows } = self;
        write!(f, "{agents} agents in {} categories", categories.len())?;
        match (categories.values().min(), categories.values().max()) {
            (Some(minimum), Some(maximum)) if minimum == maximum => write!(f, " of {minimum}")?,
            (Some(minimum), Some(maximum)) => write!(f, " of {minimum} to {maximum}")?,
            (None, _) | (_, None) => {}
        }
        write!(f, ", {teams} teams, {workflows} workflows")
    }
}

/// Loads and checks a source. The definitions of the binary were checked before; their texts are compared with their
/// hashes.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] for a directory that is none; [`ErrorCode::InvalidDefinition`] for a damaged program;
/// those of a bucket.
async fn check_source(config: Config, known_names: KnownNames) -> Result<(Report, Option<Counts>), Cause> {
    let source = catalogue::source(&config).await?;
    if let Source::Directory(dir) = &source
        && !dir.is_dir()
    {
        let message = format!("{} is neither a file nor a directory", dir.display());
        return Err(Cause::new(ErrorCode::InvalidInput, message));
    }
    let loading = move || {
        let LoadOutcome { catalogue, report } = greenroom_definitions::load(&source, &known_names);
        match catalogue.iter().flat_map(|catalogue| catalogue.damages()).next() {
            Some(damage) => Err(damage),
            None => Ok((report, catalogue.as_deref().map(Counts::new))),
        }
    };
    run_blocking(loading).await?
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_state_how_many_agents_each_category_has() {
        let counts = |categories: &[(&str, usize)]| Counts {
            agents: categories.iter().map(|(_, count)| count).sum(),
            categories: categories.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            teams: 3,
            workflows: 2,
        };
        let even = counts(&[("finance", 50), ("sales", 50)]);
        assert_eq!(even.to_string(), "100 agents in 2 categories of 50, 3 teams, 2 workflows");
        let uneven = counts(&[("finance", 50), ("sales", 3)]);
        assert_eq!(uneven.to_string(), "53 agents in 2 categories of 3 to 50, 3 teams, 2 workflows");
        assert_eq!(counts(&[]).to_string(), "0 agents in 0 categories, 3 teams, 2 workflows");
    }
}
