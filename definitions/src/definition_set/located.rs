//! A definition and the file that it stands in, so that a check finds its line.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::problem::{Location, Problem, ProblemKind, Severity};
use crate::yaml::{Node, PathSegment};

/// A definition, and where it is definition.
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) node: Node,
    pub(crate) file: Arc<Path>,
}

impl<T> Located<T> {
    /// A problem at the nearest node to a path.
    pub(crate) fn problem(
        &self,
        severity: Severity,
        path: &[PathSegment<'_>],
        kind: ProblemKind,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Problem {
        let at = self.node.nearest(path).at;
        Problem {
            location: Location { file: self.file.clone(), line: at.line, column: at.column },
            severity,
            kind,
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// A problem that keeps the definition from being loaded.
    pub(crate) fn error(
        &self,
        path: &[PathSegment<'_>],
        kind: ProblemKind,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Problem {
        self.problem(Severity::Error, path, kind, found, expected)
    }

    /// A problem that somebody should know.
    pub(crate) fn warning(
        &self,
        path: &[PathSegment<'_>],
        kind: ProblemKind,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Problem {
        self.problem(Severity::Warning, path, kind, found, expected)
    }
}

/// Ids of definitions that are there but cannot be read.
#[derive(Debug, Default)]
pub(crate) struct DeclaredIds {
    pub(crate) agents: BTreeSet<String>,
    pub(crate) workflows: BTreeSet<String>,
    pub(crate) teams: BTreeSet<String>,
    /// True if the file of the categories, or of the models, is there but cannot be read.
    pub(crate) categories: bool,
    pub(crate) models: bool,
}

impl DeclaredIds {
    pub(super) fn append(&mut self, other: Self) {
        self.agents.extend(other.agents);
        self.workflows.extend(other.workflows);
        self.teams.extend(other.teams);
        self.categories |= other.categories;
        self.models |= other.models;
    }
}
