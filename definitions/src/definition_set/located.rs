//! A definition with its file and tree, from which a check derives the line of a problem.

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
