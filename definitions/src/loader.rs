//! A folder → everything in it, and every problem of every file in one report.
//!
//! A folder holds `categories.yaml`, `models.yaml`, `agents/<category>/<id>.yaml`, `workflows/*.yaml`
//! and `teams/*.yaml`. Without the first two, those of the embedded catalogue stand in. Files are
//! read and compiled in parallel; then they are compared with each other. A catalogue is only made
//! where nothing is wrong, so that a process goes on with its last good one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::agent::Agent;
use crate::catalogue::{Catalogue, CatalogueParts};
use crate::category::Categories;
use crate::check::check;
use crate::known_names::KnownNames;
use crate::models::Models;
use crate::problem::{Problem, Report};
use crate::team::Team;
use crate::workflow::{Workflow, WorkflowSpec};

mod file;
mod find;
mod located;

pub(crate) use located::{DeclaredIds, Located};

/// Files that are read at one time.
const READERS_MAX: usize = 8;
/// Files from which on a second reader is worth its start.
const FILES_PER_READER: usize = 32;

/// Where definitions are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In the binary.
    Embedded,
    /// In a folder.
    Directory(PathBuf),
}

/// What was loaded.
#[derive(Debug, Clone)]
pub struct LoadOutcome {
    /// Everything, if nothing is wrong. Warnings are not wrong.
    pub catalogue: Option<Arc<Catalogue>>,
    /// Every problem of every file.
    pub report: Report,
}

/// A workflow as written, and compiled where that was possible.
pub(crate) struct LoadedWorkflow {
    pub(crate) spec: WorkflowSpec,
    pub(crate) compiled: Option<Workflow>,
}

/// Everything that could be read, before it is compared with each other.
#[derive(Default)]
pub(crate) struct DefinitionSet {
    pub(crate) agents: Vec<Located<Agent>>,
    pub(crate) workflows: Vec<Located<LoadedWorkflow>>,
    pub(crate) teams: Vec<Located<Team>>,
    pub(crate) categories: Vec<Located<Categories>>,
    pub(crate) models: Vec<Located<Models>>,
    /// Ids of files that could not be read, so that a reference to one is not a second problem.
    pub(crate) claimed: DeclaredIds,
}

impl DefinitionSet {
    fn append(&mut self, mut other: Self) {
        self.agents.append(&mut other.agents);
        self.workflows.append(&mut other.workflows);
        self.teams.append(&mut other.teams);
        self.categories.append(&mut other.categories);
        self.models.append(&mut other.models);
        self.claimed.append(other.claimed);
    }
}

/// Reads and checks everything.
#[must_use]
pub fn load(source: &Source, vocabulary: &KnownNames) -> LoadOutcome {
    let (files, mut problems) = match source {
        Source::Embedded => (find::embedded(), Vec::new()),
        Source::Directory(folder) => find::in_folder(folder),
    };
    let count = files.len();
    let (mut all, found) = read_all(files);
    problems.extend(found);
    find::add_missing(&mut all);
    problems.extend(check(&all, vocabulary));
    let report = Report::new(problems, count);
    let catalogue = if report.has_errors() { None } else { Some(Arc::new(assemble(all))) };
    LoadOutcome { catalogue, report }
}

/// Reads and checks one file as part of the embedded catalogue: what an editor or a person asks of
/// a file that lies anywhere.
#[must_use]
pub fn check_file(path: &Path, vocabulary: &KnownNames) -> Report {
    let (mut all, mut problems) = read_all(vec![find::alone(path)]);
    let (others, _) = read_all(find::embedded());
    all.append(others.without(&all));
    problems.extend(check(&all, vocabulary));
    problems.retain(|problem| &*problem.place.file == path);
    Report::new(problems, 1)
}

fn read_all(files: Vec<find::SourceFile>) -> (DefinitionSet, Vec<Problem>) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let readers = cores.min(READERS_MAX).min(files.len() / FILES_PER_READER + 1);
    let share = files.len().div_ceil(readers).max(1);
    let shares: Vec<&[find::SourceFile]> = files.chunks(share).collect();
    let read: Vec<(DefinitionSet, Vec<Problem>)> = std::thread::scope(|scope| {
        let (first, rest) = shares.split_first().map_or((&[][..], &[][..]), |(first, rest)| (*first, rest));
        let others: Vec<_> = rest.iter().map(|share| scope.spawn(|| read_share(share))).collect();
        let mut read = vec![read_share(first)];
        // A reader that panicked has a defect of ours; its files then count as missing, which the
        // references to them report.
        read.extend(others.into_iter().filter_map(|other| other.join().ok()));
        read
    });
    let mut all = DefinitionSet::default();
    let mut problems = Vec::new();
    for (some, found) in read {
        all.append(some);
        problems.extend(found);
    }
    (all, problems)
}

fn read_share(files: &[find::SourceFile]) -> (DefinitionSet, Vec<Problem>) {
    let mut all = DefinitionSet::default();
    let mut problems = Vec::new();
    for found in files {
        file::read(found, &mut all, &mut problems);
    }
    (all, problems)
}

fn assemble(all: DefinitionSet) -> Catalogue {
    Catalogue::new(CatalogueParts {
        categories: all.categories.into_iter().flat_map(|written| written.value.categories).collect(),
        agents: all.agents.into_iter().map(|written| written.value).collect(),
        workflows: all.workflows.into_iter().filter_map(|written| written.value.compiled).collect(),
        teams: all.teams.into_iter().map(|written| written.value).collect(),
        models: all.models.into_iter().next().map(|written| written.value).unwrap_or_default(),
    })
}
