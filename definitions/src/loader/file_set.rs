//! A source whose files are in memory: they were read from a bucket, or from a store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::find::{
    FILES_MAX, FOLDERS_MAX, FileContent, SourceFile, definition_kind, is_source_file, too_deep, unreadable,
};
use crate::problem::Problem;

/// Files in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSet {
    /// The name of the whole in reports, such as the URL of a bucket.
    pub name: PathBuf,
    /// The content of each file by its path, whose folders are separated by `/`.
    pub files: BTreeMap<String, Arc<[u8]>>,
}

impl FileSet {
    /// Lists the files by the rules of a folder.
    pub(super) fn list(&self) -> (Vec<SourceFile>, Vec<Problem>) {
        let mut files = Vec::new();
        let mut problems = Vec::new();
        for (name, content) in &self.files {
            let name = Path::new(name);
            if !is_source_file(name) {
                continue;
            }
            if name.iter().count() > FOLDERS_MAX {
                problems.push(too_deep(name.to_owned()));
                continue;
            }
            let content = FileContent::InMemory(Arc::clone(content));
            files.push(SourceFile { name: Arc::from(name), kind: definition_kind(name), content });
        }
        if files.len() > FILES_MAX {
            let message = format!("the source has more than {FILES_MAX} definitions");
            problems.push(unreadable(self.name.clone(), message));
        }
        if files.is_empty() && problems.is_empty() {
            problems.push(unreadable(self.name.clone(), "the source holds no definitions".to_owned()));
        }
        files.sort_by(|left, right| left.name.cmp(&right.name));
        (files, problems)
    }
}
