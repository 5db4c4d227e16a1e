//! A source → its catalogue, and one report with the problems of all files.
//!
//! A source is a folder, or files with the paths that they have in one. A folder holds `categories.yaml`,
//! `capabilities.yaml`, `models.yaml`, `agents/<category>/<id>.yaml`, `workflows/*.yaml`, `teams/*.yaml` and
//! `snippets/*.md`. Missing files of the first three are replaced by the embedded ones. Files are read and compiled in
//! parallel and then checked together. An invalid file is quarantined with what needs it; its last valid version, if
//! there is one, remains in service. The definitions of the binary are compiled and checked already.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use greenroom_protocol::ContentHash;

use crate::catalogue::Catalogue;
use crate::category::CategoryDefaults;
use crate::check::check;
use crate::definition_set::{DefinitionSet, ReferenceKind};
use crate::kind::DefinitionKind;
use crate::known_names::KnownNames;
use crate::problem::Problem;
use crate::report::Report;

mod declared;
mod embedded;
mod file;
mod file_set;
mod find;
mod inherit;
mod service;
mod snippet_file;
mod undecoded;

pub use embedded::compile;
pub use file_set::FileSet;

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
    /// Files that were read already.
    Files(FileSet),
}

/// The result of loading definitions.
#[derive(Debug, Clone)]
pub struct LoadOutcome {
    /// The catalogue of what is in service; `None` if the source cannot be read, or no definition of it is valid.
    pub catalogue: Option<Arc<Catalogue>>,
    /// The problems of all files.
    pub report: Report,
}

/// Loads and checks all definitions of a source.
#[must_use]
pub fn load(source: &Source, known_names: &KnownNames) -> LoadOutcome {
    load_over(source, known_names, None)
}

/// As [`load`], over the catalogue that is in service: the last valid version of a definition remains in service
/// while its file is invalid.
#[must_use]
pub fn load_over(source: &Source, known_names: &KnownNames, previous: Option<&Catalogue>) -> LoadOutcome {
    load_with(source, known_names, previous, Minimum::OneValid)
}

/// As [`load_over`], when a process starts: `last` was in service when the one before it ended. Even if no definition of
/// the source is valid any more, their last valid versions are in service.
#[must_use]
pub fn load_after_restart(source: &Source, known_names: &KnownNames, last: &Catalogue) -> LoadOutcome {
    load_with(source, known_names, Some(last), Minimum::OneInService)
}

/// What a source must contain to have a catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Minimum {
    /// A valid definition. A reload keeps the active catalogue otherwise.
    OneValid,
    /// A definition that is in service, in whichever version.
    OneInService,
}

fn load_with(source: &Source, known_names: &KnownNames, previous: Option<&Catalogue>, minimum: Minimum) -> LoadOutcome {
    let Some((files, unlisted)) = list(source) else { return embedded::load(known_names, previous, minimum) };
    let count = files.len();
    let (all, problems) = read_checked(files, unlisted, known_names, previous);
    // A problem of the source itself hides files, so it is unknown what the source contains.
    let has_problem = |whole: &Path| problems.iter().any(|problem| &*problem.location.file == whole);
    let is_complete = match source {
        Source::Embedded => true,
        Source::Directory(folder) => !has_problem(folder),
        Source::Files(set) => !has_problem(&set.name),
    };
    let catalogue = if is_complete { service::assemble(all, &problems, previous, minimum) } else { None };
    outcome(catalogue, problems, count)
}

/// Reads files, completes the definitions in them and checks all of them together.
fn read_checked(
    files: Vec<find::SourceFile>,
    unlisted: Vec<Problem>,
    known_names: &KnownNames,
    previous: Option<&Catalogue>,
) -> (DefinitionSet, Vec<Problem>) {
    let (mut all, file_problems) = read_files(files);
    declared::identify(&mut all, &unlisted, previous);
    let mut problems = unlisted;
    problems.extend(file_problems);
    add_missing(&mut all);
    problems.extend(inherit::apply(&mut all, &problems, previous));
    problems.extend(check(&all, known_names));
    (all, problems)
}

fn outcome(catalogue: Option<Catalogue>, problems: Vec<Problem>, files: usize) -> LoadOutcome {
    let mut report = Report::new(problems, files);
    report.quarantined = catalogue.iter().flat_map(Catalogue::quarantined).cloned().collect();
    LoadOutcome { catalogue: catalogue.map(Arc::new), report }
}

/// Loads one file and checks it as a part of a source: its references are to definitions there. A file that is not in
/// the folder of the source is checked as if it were, in the place of a definition with its id.
#[must_use]
pub fn check_file(path: &Path, source: &Source, known_names: &KnownNames) -> Report {
    let inside = match source {
        Source::Embedded | Source::Files(_) => None,
        Source::Directory(folder) => find::name_in(folder, path),
    };
    let (others, mut problems) = match list(source) {
        Some((files, unlisted)) => {
            let (mut others, problems) = read_files(files);
            declared::identify(&mut others, &unlisted, None);
            (others, problems)
        }
        None => match embedded::definition_set() {
            Ok(others) => (others, Vec::new()),
            Err(cause) => return Report::new(vec![embedded::damage(&cause)], 1),
        },
    };
    let (mut all, name) = match inside {
        Some(name) => (others, name),
        None => {
            let (mut all, file_problems) = read_files(vec![find::single_file(path)]);
            problems = file_problems;
            all.append(others.without(&all));
            (all, path.to_owned())
        }
    };
    add_missing(&mut all);
    problems.extend(inherit::apply(&mut all, &problems, None));
    problems.extend(check(&all, known_names));
    problems.retain(|problem| *problem.location.file == name);
    Report::new(problems, 1)
}

/// True if a load would read a file with this path in its source, so that other files need not be read for it.
#[must_use]
pub fn is_source_file(name: &Path) -> bool {
    find::is_source_file(name)
}

/// The hash of all files of a folder that a load would read, with their names: it changes with any of them.
#[must_use]
pub fn fingerprint(folder: &Path) -> ContentHash {
    let (files, problems) = find::directory_files(folder);
    let mut content: Vec<u8> = problems.iter().flat_map(|problem| problem.to_string().into_bytes()).collect();
    for file in files {
        let bytes = match file.bytes() {
            Ok(bytes) => ContentHash::from_content(&bytes),
            Err(error) => ContentHash::from_content(error.to_string().as_bytes()),
        };
        content.extend_from_slice(ContentHash::from_content(file.name.as_os_str().as_encoded_bytes()).as_bytes());
        content.extend_from_slice(bytes.as_bytes());
    }
    ContentHash::from_content(&content)
}

/// Lists the files of a source, and the problems of those that cannot be listed. The binary has none for each
/// definition.
fn list(source: &Source) -> Option<(Vec<find::SourceFile>, Vec<Problem>)> {
    match source {
        Source::Embedded => None,
        Source::Directory(folder) => Some(find::directory_files(folder)),
        Source::Files(set) => Some(set.list()),
    }
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

/// Adds the embedded categories, capabilities and models, if the folder has none. The defaults of the embedded
/// categories are those of the embedded agents, and nobody else's.
fn add_missing(all: &mut DefinitionSet) {
    let mut missing_kinds = Vec::new();
    if all.categories.is_empty() && !all.has_undecoded(DefinitionKind::Categories) {
        missing_kinds.push(DefinitionKind::Categories);
    }
    if all.capabilities.is_empty() && !all.has_undecoded(DefinitionKind::Capabilities) {
        missing_kinds.push(DefinitionKind::Capabilities);
    }
    if all.models.is_empty() && !all.has_undecoded(DefinitionKind::Models) {
        missing_kinds.push(DefinitionKind::Models);
    }
    let files: Vec<find::SourceFile> =
        find::embedded_files().into_iter().filter(|file| missing_kinds.contains(&file.kind)).collect();
    // The embedded files are checked by a test, so they have no problems.
    let (mut missing, _) = read_share(&files);
    let categories = missing.categories.iter_mut().flat_map(|file| &mut file.value.categories);
    categories.for_each(|category| category.defaults = CategoryDefaults::default());
    // Its references to snippets went with its defaults.
    missing.references.retain(|reference| reference.kind != ReferenceKind::Snippet);
    all.append(missing);
}
