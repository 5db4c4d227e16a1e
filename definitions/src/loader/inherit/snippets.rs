//! The snippets of a load: which of them can be used, and the texts that each one needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::definition_set::DefinitionSet;
use crate::kind::DefinitionKind;
use crate::problem::{Location, Problem, ProblemKind, Severity};
use crate::snippet::{expand, includes};

/// The snippets of a load.
pub(super) struct Snippets {
    /// The texts of those that can be expanded.
    usable: BTreeMap<String, String>,
    /// The names of all, invalid ones among them.
    known: BTreeSet<String>,
}

impl Snippets {
    /// Finds the snippets that can be expanded, and the problems of the others. A snippet that includes one which does
    /// not exist, or is invalid, has no second problem.
    pub(super) fn new(all: &DefinitionSet) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        for snippet in &all.snippets {
            if texts.insert(snippet.name.clone(), snippet.text.clone()).is_some() {
                let found = format!("another file has the snippet `{}` too", snippet.name);
                problems.push(problem(&snippet.file, 0, ProblemKind::DuplicateId, found));
            }
        }
        let mut usable = BTreeMap::new();
        for snippet in &all.snippets {
            let has_all = reaches_only(&snippet.name, &texts, &mut BTreeSet::new());
            match expand(&snippet.text, &texts) {
                Ok(_) => drop(usable.insert(snippet.name.clone(), snippet.text.clone())),
                Err(error) if has_all => {
                    let kind = if is_cyclic(&snippet.name, &texts) {
                        ProblemKind::Cycle
                    } else {
                        ProblemKind::ExpressionBounds
                    };
                    problems.push(problem(&snippet.file, error.line, kind, format!("the snippet {}", error.message)));
                }
                Err(_) => {}
            }
        }
        let undecoded = all.undecoded_ids(DefinitionKind::Snippet).map(str::to_owned);
        let known = texts.into_keys().chain(undecoded).collect();
        (Self { usable, known }, problems)
    }

    /// True if a file has this name, valid or not.
    pub(super) fn is_known(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// Adds the text of a snippet and of those in it. False if it cannot be used. A snippet that can be expanded has
    /// no cycle, so this ends.
    pub(super) fn collect(&self, name: &str, texts: &mut BTreeMap<String, String>) -> bool {
        let Some(text) = self.usable.get(name) else { return false };
        if texts.insert(name.to_owned(), text.clone()).is_none() {
            return includes(text).unwrap_or_default().iter().all(|include| self.collect(include.name, texts));
        }
        true
    }
}

/// True if a snippet, and each one that it includes at any depth, has a text.
fn reaches_only<'t>(name: &'t str, texts: &'t BTreeMap<String, String>, visited: &mut BTreeSet<&'t str>) -> bool {
    if !visited.insert(name) {
        return true;
    }
    let Some(text) = texts.get(name) else { return false };
    includes(text).unwrap_or_default().iter().all(|include| reaches_only(include.name, texts, visited))
}

/// True if a snippet includes itself, at any depth.
fn is_cyclic(name: &str, texts: &BTreeMap<String, String>) -> bool {
    let mut visited: BTreeSet<&str> = BTreeSet::new();
    let mut queue = included(name, texts);
    while let Some(next) = queue.pop() {
        if next == name {
            return true;
        }
        if visited.insert(next) {
            queue.extend(included(next, texts));
        }
    }
    false
}

/// The names that a snippet includes.
fn included<'t>(name: &str, texts: &'t BTreeMap<String, String>) -> Vec<&'t str> {
    let found = texts.get(name).map(|text| includes(text).unwrap_or_default()).unwrap_or_default();
    found.into_iter().map(|include| include.name).collect()
}

fn problem(file: &Arc<Path>, line: usize, kind: ProblemKind, found: String) -> Problem {
    let line = u32::try_from(line).unwrap_or(u32::MAX);
    Problem {
        location: Location { file: file.clone(), line, column: u32::from(line > 0) },
        severity: Severity::Error,
        kind,
        found,
        expected: String::new(),
    }
}
