//! A definition with its file and tree, from which a check derives the line of a problem.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::problem::{Location, Problem, ProblemKind, Severity};
use crate::yaml::{Node, PathSegment};

/// A definition and its location.
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) node: Node,
    pub(crate) file: Arc<Path>,
}

impl<T> Located<T> {
    /// Creates a problem at the node of a path, or its nearest existing ancestor.
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

    /// Creates a problem that prevents loading.
    pub(crate) fn error(
        &self,
        path: &[PathSegment<'_>],
        kind: ProblemKind,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Problem {
        self.problem(Severity::Error, path, kind, found, expected)
    }

    /// Creates a problem that does not prevent loading.
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

/// Ids that invalid definitions declare.
#[derive(Debug, Default)]
pub(crate) struct DeclaredIds {
    pub(crate) agents: BTreeSet<String>,
    pub(crate) workflows: BTreeSet<String>,
    pub(crate) teams: BTreeSet<String>,
    /// True if the file of the categories, the capabilities or the models exists but is invalid.
    pub(crate) categories: bool,
    pub(crate) capabilities: bool,
    pub(crate) models: bool,
}

impl DeclaredIds {
    pub(super) fn append(&mut self, other: Self) {
        self.agents.extend(other.agents);
        self.workflows.extend(other.workflows);
        self.teams.extend(other.teams);
        self.categories |= other.categories;
        self.capabilities |= other.capabilities;
        self.models |= other.models;
    }
}
