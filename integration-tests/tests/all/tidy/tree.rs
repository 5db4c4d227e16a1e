//! The files of the tree as git lists them, read once, and the type of a problem.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One file: its path from the root with `/` as separator, and its text.
pub(crate) struct File {
    pub(crate) path: String,
    /// `None` if the file is not UTF-8.
    pub(crate) text: Option<String>,
}

impl File {
    /// The lines with their numbers, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.as_deref().unwrap_or_default().lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The last part of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// A problem at a line of this file; line 0 is the whole file.
    pub(crate) fn problem(&self, line: usize, found: impl Into<String>, wanted: impl Into<String>) -> Problem {
        Problem { path: self.path.clone(), line, found: found.into(), wanted: wanted.into() }
    }
}

/// A violation of a rule: its location, the finding and the remedy.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    path: String,
    line: usize,
    found: String,
    wanted: String,
}

impl Problem {
    /// A problem of the tree as a whole.
    pub(crate) fn in_tree(found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self { path: "the tree".into(), line: 0, found: found.into(), wanted: wanted.into() }
    }

    /// A problem of a missing file.
    pub(crate) fn missing(path: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self { path: path.into(), line: 0, found: "does not exist".into(), wanted: wanted.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}; {}", self.path, self.found, self.wanted),
            line => write!(f, "{}:{line}: {}; {}", self.path, self.found, self.wanted),
        }
    }
}

/// Copies of releases of others, which follow their own rules.
const VENDORED: &str = "vendor/";

/// Every file of the repository, and every new file that git does not ignore; not what is vendored.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Returns the tree, which the first call reads.
    pub(crate) fn get() -> &'static Self {
        static TREE: OnceLock<Tree> = OnceLock::new();
        TREE.get_or_init(Self::read)
    }

    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the root exists");
        let mut paths = list_tracked(&root).unwrap_or_else(|| list_folders(&root));
        paths.retain(|path| !path.starts_with(VENDORED));
        paths.sort();
        paths.dedup();
        let files: Vec<File> = paths
            .into_iter()
            // Git still lists a removed file before the removal is committed.
            .filter(|path| root.join(path).is_file())
            .map(|path| File {
                text: std::fs::read(root.join(&path)).ok().and_then(|b| String::from_utf8(b).ok()),
                path,
            })
            .collect();
        assert!(files.len() > 20, "only {} files were found under {}", files.len(), root.display());
        Self { root, files }
    }

    /// The files with this ending, such as `.rs`.
    pub(crate) fn ending<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.ends_with(ending))
    }

    /// The files below this folder, which ends in `/`.
    pub(crate) fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.starts_with(folder))
    }

    /// The file at this path.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok().and_then(|index| self.files.get(index))
    }
}

/// Lists the tracked files and the new files that git does not ignore.
fn list_tracked(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split('\0').filter(|path| !path.is_empty()).map(ToOwned::to_owned).collect())
}

/// Lists the files of a tree without git, such as an unpacked archive.
fn list_folders(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("a folder of the tree can be read");
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if !matches!(name.as_ref(), ".git" | ".tools" | "target" | "greenroom-data") {
                    folders.push(path);
                }
            } else if let Ok(inside) = path.strip_prefix(root) {
                found.push(inside.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found
}
