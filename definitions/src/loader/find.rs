//! Finds the files of a source.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::embedded;
use crate::problem::{Location, Problem, ProblemKind, Severity};

/// Files of one folder.
const FILES_MAX: usize = 20_000;
/// Maximum nesting of folders: `agents/<category>/<group>/<id>.yaml`.
const FOLDERS_MAX: usize = 4;

/// The kind of definition in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DefinitionKind {
    Agent,
    Workflow,
    Team,
    Categories,
    Capabilities,
    Models,
    /// Determined by the content.
    Unknown,
}

/// A file and the source of its bytes.
pub(super) struct SourceFile {
    /// The name in reports.
    pub(super) name: Arc<Path>,
    pub(super) kind: DefinitionKind,
    pub(super) content: FileContent,
}

/// The source of the bytes.
pub(super) enum FileContent {
    Embedded(&'static str),
    OnDisk(PathBuf),
}

impl SourceFile {
    /// Reads the file, up to one byte more than allowed.
    pub(super) fn bytes(&self) -> std::io::Result<Cow<'static, [u8]>> {
        match &self.content {
            FileContent::Embedded(text) => Ok(Cow::Borrowed(text.as_bytes())),
            FileContent::OnDisk(path) => {
                use std::io::Read as _;
                let mut bytes = Vec::new();
                let limit = crate::yaml::FILE_BYTES_MAX as u64 + 1;
                std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

/// Lists the files of the binary.
pub(super) fn embedded_files() -> Vec<SourceFile> {
    let to_source = |(name, text): &(&'static str, &'static str)| SourceFile {
        name: Arc::from(Path::new(name)),
        kind: definition_kind(Path::new(name)),
        content: FileContent::Embedded(text),
    };
    embedded::FILES.iter().map(to_source).collect()
}

/// Creates the source of a single file.
pub(super) fn single_file(path: &Path) -> SourceFile {
    SourceFile { name: Arc::from(path), kind: DefinitionKind::Unknown, content: FileContent::OnDisk(path.to_owned()) }
}

/// Lists the files of a folder, sorted by name.
pub(super) fn directory_files(folder: &Path) -> (Vec<SourceFile>, Vec<Problem>) {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    let mut queue = vec![(folder.to_owned(), 0_usize)];
    while let Some((path, depth)) = queue.pop() {
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) => {
                problems.push(unreadable(name_of(folder, &path), format!("the folder cannot be read: {error}")));
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            match entry_kind(&entry) {
                EntryKind::Folder if depth + 1 < FOLDERS_MAX && !is_generated(depth, entry.file_name().as_os_str()) => {
                    queue.push((path, depth + 1));
                }
                EntryKind::File if is_yaml(&path) => {
                    let name = name_of(folder, &path);
                    files.push(SourceFile {
                        kind: definition_kind(&name),
                        name: Arc::from(name),
                        content: FileContent::OnDisk(path),
                    });
                }
                EntryKind::Other(reason) if is_yaml(&path) => problems.push(unreadable(name_of(folder, &path), reason)),
                EntryKind::Folder | EntryKind::File | EntryKind::Other(_) => {}
            }
        }
        if files.len() > FILES_MAX {
            let message = format!("the folder has more than {FILES_MAX} definitions");
            problems.push(unreadable(folder.to_owned(), message));
            break;
        }
    }
    if files.is_empty() && problems.is_empty() {
        problems.push(unreadable(folder.to_owned(), "the folder holds no definitions".to_owned()));
    }
    files.sort_by(|left, right| left.name.cmp(&right.name));
    (files, problems)
}

/// The kind of a directory entry, after following links.
enum EntryKind {
    Folder,
    File,
    /// Neither file nor folder, such as a pipe, whose opening would block.
    Other(String),
}

/// Follows links; the maximum nesting of folders bounds a cycle of links.
fn entry_kind(entry: &std::fs::DirEntry) -> EntryKind {
    let kind = entry.file_type().and_then(|kind| {
        if kind.is_symlink() { std::fs::metadata(entry.path()).map(|target| target.file_type()) } else { Ok(kind) }
    });
    match kind {
        Ok(kind) if kind.is_dir() => EntryKind::Folder,
        Ok(kind) if kind.is_file() => EntryKind::File,
        Ok(_) => EntryKind::Other("this is not a file".to_owned()),
        Err(error) => EntryKind::Other(format!("the file cannot be read: {error}")),
    }
}

/// True for folders beside the definitions in this repository that contain none.
fn is_generated(depth: usize, name: &OsStr) -> bool {
    depth == 0 && ["schema", "src", "tests", "target"].iter().any(|other| name == *other)
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn name_of(folder: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix(folder) {
        Ok(name) if name.as_os_str().is_empty() => folder.to_owned(),
        Ok(name) => name.to_owned(),
        Err(_) => path.to_owned(),
    }
}

fn definition_kind(name: &Path) -> DefinitionKind {
    let first = name.iter().next().map(OsStr::to_string_lossy);
    let inside = name.iter().nth(1).is_some();
    match first.as_deref() {
        Some("agents") if inside => DefinitionKind::Agent,
        Some("workflows") if inside => DefinitionKind::Workflow,
        Some("teams") if inside => DefinitionKind::Team,
        Some("categories.yaml" | "categories.yml") => DefinitionKind::Categories,
        Some("capabilities.yaml" | "capabilities.yml") => DefinitionKind::Capabilities,
        Some("models.yaml" | "models.yml") => DefinitionKind::Models,
        Some(_) | None => DefinitionKind::Unknown,
    }
}

pub(super) fn unreadable(name: PathBuf, found: String) -> Problem {
    Problem {
        location: Location::whole_file(name),
        severity: Severity::Error,
        kind: ProblemKind::Unreadable,
        found,
        expected: String::new(),
    }
}
