//! A folder → its catalogue, and one report with the problems of all files.
//!
//! A folder holds `categories.yaml`, `capabilities.yaml`, `models.yaml`, `agents/<category>/<id>.yaml`,
//! `workflows/*.yaml` and `teams/*.yaml`. Missing files of the first three are replaced by the embedded
//! ones. Files are read and compiled in parallel and then checked together. A catalogue is built only if there is no
//! error, so that a pod keeps its last valid one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalogue::{Catalogue, CatalogueParts};
use crate::check::check;
use crate::definition_set::DefinitionSet;
use crate::known_names::KnownNames;
use crate::problem::{Problem, Report};

mod file;
mod find;

/// Maximum number of files that are read concurrently.
const READERS_MAX: usize = 8;
/// Number of files for each reader thread: a second thread costs more than it saves below that.
const FILES_PER_READER: usize = 32;

/// The source of definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The binary.
    Embedded,
    /// A folder.
    Directory(PathBuf),
}

/// The result of loading definitions.
#[derive(Debug, Clone)]
pub struct LoadOutcome {
    /// The catalogue, unless there is an error. Warnings do not prevent it.
    pub catalogue: Option<Arc<Catalogue>>,
    /// The problems of all files.
    pub report: Report,
}

/// Loads and checks all definitions of a source.
#[must_use]
pub fn load(source: &Source, known_names: &KnownNames) -> LoadOutcome {
    let (files, mut problems) = match source {
        Source::Embedded => (find::embedded_files(), Vec::new()),
        Source::Directory(folder) => find::directory_files(folder),
    };
    let count = files.len();
    let (mut all, file_problems) = read_files(files);
    problems.extend(file_problems);
    add_missing(&mut all);
    problems.extend(check(&all, known_names));
    let report = Report::new(problems, count);
    let catalogue = if report.has_errors() { None } else { Some(Arc::new(assemble(all))) };
    LoadOutcome { catalogue, report }
}

/// Loads one file from any path and checks it as part of the embedded catalogue.
#[must_use]
pub fn check_file(path: &Path, known_names: &KnownNames) -> Report {
    let (mut all, mut problems) = read_files(vec![find::single_file(path)]);
    let (embedded, _) = read_files(find::embedded_files());
    all.append(embedded.without(&all));
    problems.extend(check(&all, known_names));
    problems.retain(|problem| &*problem.location.file == path);
    Report::new(problems, 1)
}

fn read_files(files: Vec<find::SourceFile>) -> (DefinitionSet, Vec<Problem>) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let readers = cores.min(READERS_MAX).min(files.len() / FILES_PER_READER + 1);
    let share = files.len().div_ceil(readers).max(1);
    let shares: Vec<&[find::SourceFile]> = files.chunks(share).collect();
    let read: Vec<(DefinitionSet, Vec<Problem>)> = std::thread::scope(|scope| {
        let (first, rest) = shares.split_first().map_or((&[][..], &[][..]), |(first, rest)| (*first, rest));
        let others: Vec<_> = rest.iter().map(|share| scope.spawn(|| read_share(share))).collect();
        let mut read = vec![read_share(first)];
        // A panic of a reader is a defect of this crate; its files then count as missing, and the
        // references to them are reported.
        read.extend(others.into_iter().filter_map(|other| other.join().ok()));
        read
    });
    let mut all = DefinitionSet::default();
    let mut problems = Vec::new();
    for (set, set_problems) in read {
        all.append(set);
        problems.extend(set_problems);
    }
    (all, problems)
}

fn read_share(files: &[find::SourceFile]) -> (DefinitionSet, Vec<Problem>) {
    let mut all = DefinitionSet::default();
    let mut problems = Vec::new();
    for file in files {
        file::read(file, &mut all, &mut problems);
    }
    (all, problems)
}

/// Adds the embedded categories, capabilities and models, if the folder has none.
fn add_missing(all: &mut DefinitionSet) {
    let mut missing_kinds = Vec::new();
    if all.categories.is_empty() && !all.declared.categories {
        missing_kinds.push(find::DefinitionKind::Categories);
    }
    if all.capabilities.is_empty() && !all.declared.capabilities {
        missing_kinds.push(find::DefinitionKind::Capabilities);
    }
    if all.models.is_empty() && !all.declared.models {
        missing_kinds.push(find::DefinitionKind::Models);
    }
    let files: Vec<find::SourceFile> =
        find::embedded_files().into_iter().filter(|file| missing_kinds.contains(&file.kind)).collect();
    // The embedded files are checked by a test, so they have no problems.
    let (missing, _) = read_share(&files);
    all.append(missing);
}

fn assemble(all: DefinitionSet) -> Catalogue {
    Catalogue::new(CatalogueParts {
        categories: all.categories.into_iter().flat_map(|written| written.value.categories).collect(),
        capabilities: all.capabilities.into_iter().flat_map(|written| written.value.capabilities).collect(),
        agents: all.agents.into_iter().map(|written| written.value).collect(),
        workflows: all.workflows.into_iter().filter_map(|written| written.value.compiled).collect(),
        teams: all.teams.into_iter().map(|written| written.value).collect(),
        models: all.models.into_iter().next().map(|written| written.value).unwrap_or_default(),
    })
}
