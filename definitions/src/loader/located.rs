//! A definition and the file that it stands in, so that a check finds its line.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::problem::{Flaw, Place, Problem, Severity};
use crate::yaml::{Node, Step};

/// A definition, and where it is written.
pub(crate) struct Written<T> {
    pub(crate) what: T,
    pub(crate) node: Node,
    pub(crate) file: Arc<Path>,
}

impl<T> Written<T> {
    /// A problem at the nearest node to a path.
    pub(crate) fn problem(
        &self,
        severity: Severity,
        path: &[Step<'_>],
        flaw: Flaw,
        found: impl Into<String>,
        wanted: impl Into<String>,
    ) -> Problem {
        let at = self.node.nearest(path).at;
        Problem {
            place: Place { file: self.file.clone(), line: at.line, column: at.column },
            severity,
            flaw,
            found: found.into(),
            wanted: wanted.into(),
        }
    }

    /// A problem that keeps the definition from being loaded.
    pub(crate) fn error(
        &self,
        path: &[Step<'_>],
        flaw: Flaw,
        found: impl Into<String>,
        wanted: impl Into<String>,
    ) -> Problem {
        self.problem(Severity::Error, path, flaw, found, wanted)
    }

    /// A problem that somebody should know.
    pub(crate) fn warning(
        &self,
        path: &[Step<'_>],
        flaw: Flaw,
        found: impl Into<String>,
        wanted: impl Into<String>,
    ) -> Problem {
        self.problem(Severity::Warning, path, flaw, found, wanted)
    }
}

/// Ids of definitions that are there but cannot be read.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    pub(crate) agents: BTreeSet<String>,
    pub(crate) workflows: BTreeSet<String>,
    pub(crate) teams: BTreeSet<String>,
    /// True if the file of the categories, or of the models, is there but cannot be read.
    pub(crate) categories: bool,
    pub(crate) models: bool,
}

impl Claimed {
    pub(super) fn append(&mut self, other: Self) {
        self.agents.extend(other.agents);
        self.workflows.extend(other.workflows);
        self.teams.extend(other.teams);
        self.categories |= other.categories;
        self.models |= other.models;
    }
}
