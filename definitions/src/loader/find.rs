//! Finds the files of a source.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::embedded;
use crate::kind::DefinitionKind;
use crate::problem::{Location, Problem, ProblemKind, Severity};

/// Files of one source.
pub(super) const FILES_MAX: usize = 20_000;
/// Maximum nesting of folders: `agents/<category>/<group>/<id>.yaml`.
pub(super) const FOLDERS_MAX: usize = 4;
/// Maximum nesting up to which definitions are looked for, to report that they are nested too deep.
const SEARCHED_FOLDERS_MAX: usize = 16;

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
    InMemory(Arc<[u8]>),
}

impl SourceFile {
    /// True if the file is JSON by its name.
    pub(super) fn is_json(&self) -> bool {
        self.name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
    }

    /// Reads the file, up to one byte more than allowed.
    pub(super) fn bytes(&self) -> std::io::Result<Cow<'_, [u8]>> {
        match &self.content {
            FileContent::Embedded(text) => Ok(Cow::Borrowed(text.as_bytes())),
            FileContent::InMemory(bytes) => Ok(Cow::Borrowed(&**bytes)),
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

/// Creates the source of a single file, whose content determines its kind.
pub(super) fn single_file(path: &Path) -> SourceFile {
    let kind = if is_markdown(path) { DefinitionKind::Snippet } else { DefinitionKind::Unknown };
    SourceFile { name: Arc::from(path), kind, content: FileContent::OnDisk(path.to_owned()) }
}

/// The name of a file in the folder that is loaded; `None` if it is elsewhere, or not read as a part of the folder.
pub(super) fn name_in(folder: &Path, file: &Path) -> Option<PathBuf> {
    let canonical = std::fs::canonicalize(file).ok()?;
    let is_same = |source: &&SourceFile| match &source.content {
        FileContent::OnDisk(path) => std::fs::canonicalize(path).is_ok_and(|path| path == canonical),
        FileContent::Embedded(_) | FileContent::InMemory(_) => false,
    };
    directory_files(folder).0.iter().find(is_same).map(|source| source.name.to_path_buf())
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
            let name = name_of(folder, &path);
            if is_of_an_editor(&entry.file_name().to_string_lossy()) {
                continue;
            }
            match entry_kind(&entry) {
                EntryKind::Folder if links_to_ancestor(&entry) => {
                    problems.push(unreadable(name, "the link leads to a folder that contains it".into()));
                }
                EntryKind::Folder if depth + 1 < SEARCHED_FOLDERS_MAX => {
                    if !is_no_source(depth, entry.file_name().as_os_str()) {
                        queue.push((path, depth + 1));
                    }
                }
                EntryKind::File if is_definition(&name) && depth >= FOLDERS_MAX => problems.push(too_deep(name)),
                EntryKind::File if is_definition(&name) => {
                    files.push(SourceFile {
                        kind: definition_kind(&name),
                        name: Arc::from(name),
                        content: FileContent::OnDisk(path),
                    });
                }
                EntryKind::Other(reason) if is_definition(&name) => problems.push(unreadable(name, reason)),
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

/// True for a link to a folder that it is in: its files would be listed again, once for each level.
fn links_to_ancestor(entry: &std::fs::DirEntry) -> bool {
    if !entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
        return false;
    }
    let path = entry.path();
    let parent = path.parent().and_then(|parent| std::fs::canonicalize(parent).ok());
    parent.zip(std::fs::canonicalize(&path).ok()).is_some_and(|(parent, target)| parent.starts_with(target))
}

/// Follows links; the maximum nesting of folders bounds a cycle of several links.
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

/// True for folders beside definitions that contain none, such as that of the sample inputs.
fn is_no_source(depth: usize, name: &OsStr) -> bool {
    depth == 0 && ["samples", "schema", "src", "tests", "target"].iter().any(|other| name == *other)
}

/// True if a file with this path in a source is read: it has the name of a definition, and neither it nor one of its
/// folders is hidden, an editor's or a folder without definitions.
pub(super) fn is_source_file(name: &Path) -> bool {
    let is_skipped = name.iter().any(|part| is_of_an_editor(&part.to_string_lossy()))
        || (name.iter().nth(1).is_some() && name.iter().next().is_some_and(|first| is_no_source(0, first)));
    is_definition(name) && !is_skipped
}

/// True for hidden files, and for the copies and locks that editors write beside a file.
fn is_of_an_editor(name: &str) -> bool {
    name.starts_with(['.', '#', '~'])
}

/// True for the names of definitions, by their path in the source. A name that ends in `.YAML` is one too, since not
/// every file system distinguishes them.
fn is_definition(name: &Path) -> bool {
    is_snippet(name)
        || name
            .extension()
            .and_then(OsStr::to_str)
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// True for the text files directly in the folder of snippets.
fn is_snippet(name: &Path) -> bool {
    is_markdown(name) && name.iter().count() == 2 && name.iter().next().is_some_and(|first| first == "snippets")
}

fn is_markdown(path: &Path) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|extension| extension.eq_ignore_ascii_case("md"))
}

fn name_of(folder: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix(folder) {
        Ok(name) if name.as_os_str().is_empty() => folder.to_owned(),
        Ok(name) => name.to_owned(),
        Err(_) => path.to_owned(),
    }
}

/// Determines the kind of a file by its folder or its name.
pub(super) fn definition_kind(name: &Path) -> DefinitionKind {
    let first = name.iter().next().and_then(OsStr::to_str);
    if name.iter().nth(1).is_some() {
        return match first {
            Some("agents") => DefinitionKind::Agent,
            Some("workflows") => DefinitionKind::Workflow,
            Some("teams") => DefinitionKind::Team,
            Some("snippets") if is_snippet(name) => DefinitionKind::Snippet,
            Some(_) | None => DefinitionKind::Unknown,
        };
    }
    match name.file_stem().and_then(OsStr::to_str) {
        Some("categories") => DefinitionKind::Categories,
        Some("capabilities") => DefinitionKind::Capabilities,
        Some("models") => DefinitionKind::Models,
        Some(_) | None => DefinitionKind::Unknown,
    }
}

pub(super) fn too_deep(name: PathBuf) -> Problem {
    Problem {
        location: Location::whole_file(name),
        severity: Severity::Error,
        kind: ProblemKind::TooDeep,
        found: format!("the file is nested in more than {} folders and is not read", FOLDERS_MAX - 1),
        expected: "move it up, such as to `agents/<category>/<agent_id>.yaml`".to_owned(),
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
