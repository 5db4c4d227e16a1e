//! The problems of all files of one load, and the definitions that they put out of service.

use std::fmt;

use greenroom_protocol::{Cause, ErrorCode};
use serde::Serialize;

use crate::problem::{Problem, Severity};
use crate::quarantine::Quarantined;

/// Problems of one report; further problems are only counted.
pub const PROBLEMS_MAX: usize = 1_000;

/// All problems of a load, sorted by file and line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    problems: Vec<Problem>,
    omitted: usize,
    /// The number of files read.
    pub files: usize,
    /// The definitions that are not in service in the version of their file.
    pub quarantined: Vec<Quarantined>,
}

impl Report {
    /// Sorts problems into a report.
    #[must_use]
    pub fn new(mut problems: Vec<Problem>, files: usize) -> Self {
        problems.sort();
        problems.dedup();
        let omitted = problems.len().saturating_sub(PROBLEMS_MAX);
        // If there are too many problems, warnings are dropped before errors.
        if omitted > 0 {
            problems.sort_by_key(|problem| problem.severity);
            problems.truncate(PROBLEMS_MAX);
            problems.sort();
        }
        Self { problems, omitted, files, quarantined: Vec::new() }
    }

    /// The problems, warnings included.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems that prevent loading.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error)
    }

    /// The problems that do not prevent loading.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Warning)
    }

    /// True if a problem prevents loading.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// Converts the report to a cause: the message has the first error, `details` all problems.
    #[must_use]
    pub fn to_cause(&self) -> Option<Cause> {
        let first = self.errors().next()?;
        let count = self.errors().count() + self.omitted;
        let rest = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
        let details = serde_json::json!({ "problems": self.problems, "omitted": self.omitted });
        Some(Cause::new(ErrorCode::InvalidDefinition, format!("{first}{rest}")).with_details(details))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        let (errors, warnings) = (self.errors().count(), self.warnings().count());
        if self.omitted > 0 {
            writeln!(f, "… and {} more problems", self.omitted)?;
        }
        for definition in &self.quarantined {
            writeln!(f, "quarantined: {definition}")?;
        }
        write!(f, "{} files, {errors} errors, {warnings} warnings", self.files)?;
        if !self.quarantined.is_empty() {
            write!(f, ", {} quarantined", self.quarantined.len())?;
        }
        Ok(())
    }
}
