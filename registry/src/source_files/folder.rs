//! The files of a folder of this machine.

use std::fs::{self, DirEntry, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::{LISTED_FILES_MAX, ListedFile, SourceError, SourceFiles, is_hidden};

/// Maximum nesting of folders.
const FOLDERS_MAX: usize = 16;

/// Opens a folder. It is read by each call, so it may be created or replaced meanwhile.
#[must_use]
pub fn open_folder_source(folder: &Path) -> Arc<dyn SourceFiles> {
    Arc::new(FolderSource(folder.to_owned()))
}

struct FolderSource(PathBuf);

#[async_trait]
impl SourceFiles for FolderSource {
    async fn list(&self) -> Result<Vec<ListedFile>, SourceError> {
        let root = self.0.clone();
        run_blocking(&self.0, move || list(&root)).await
    }

    async fn get(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, SourceError> {
        let path = self.0.join(name);
        let file = path.clone();
        run_blocking(&path, move || read(&file, bytes_max).map_err(|error| unreadable(&file, &error))).await
    }
}

/// Runs what waits for the disk where it may block.
async fn run_blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(unreadable(path, &io::Error::other(error))))
}

fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn list(root: &Path) -> Result<Vec<ListedFile>, SourceError> {
    let mut files = Vec::new();
    let mut folders = vec![(root.to_owned(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&folder, &error))?;
            let path = entry.path();
            let name = entry.file_name().into_string();
            let name = name.map_err(|_| unreadable(&path, &io::Error::other("its name is not UTF-8")))?;
            if is_hidden(&name) {
                continue;
            }
            // Links are followed, as a load of the folder does.
            let metadata = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
            if metadata.is_dir() {
                require_no_cycle(&entry, depth).map_err(|error| unreadable(&path, &error))?;
                folders.push((path, format!("{prefix}{name}/"), depth + 1));
            } else if metadata.is_file() {
                files.push(ListedFile { name: format!("{prefix}{name}"), tag: tag(&metadata) });
            }
        }
        if files.len() > LISTED_FILES_MAX {
            return Err(SourceError::TooManyFiles { source_name: root.display().to_string() });
        }
    }
    files.sort();
    Ok(files)
}

/// Rejects a folder that is nested too deep, and a link to a folder that it is in.
fn require_no_cycle(entry: &DirEntry, depth: usize) -> io::Result<()> {
    if depth + 1 >= FOLDERS_MAX {
        return Err(io::Error::other(format!("it is nested in more than {FOLDERS_MAX} folders")));
    }
    if !entry.file_type()?.is_symlink() {
        return Ok(());
    }
    let target = fs::canonicalize(entry.path())?;
    let parent = entry.path().parent().map(fs::canonicalize).transpose()?;
    if parent.is_some_and(|parent| parent.starts_with(&target)) {
        return Err(io::Error::other("the link leads to a folder that contains it"));
    }
    Ok(())
}

/// Changes when the file is replaced or written.
fn tag(metadata: &Metadata) -> String {
    let (device, number, bytes) = (metadata.dev(), metadata.ino(), metadata.len());
    format!("{device}-{number}-{bytes}-{}.{}", metadata.ctime(), metadata.ctime_nsec())
}

fn unreadable(path: &Path, error: &io::Error) -> SourceError {
    SourceError::Unreadable { path: path.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn names(source: &dyn SourceFiles) -> Vec<String> {
        source.list().await.unwrap().into_iter().map(|file| file.name).collect()
    }

    #[tokio::test]
    async fn the_files_of_all_folders_are_listed_by_name_and_hidden_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a/x.yaml", "a/b/y.yaml", ".git/config", "a/.x.yaml.swp", "#b.yaml#"] {
            write(dir.path(), name, name);
        }
        symlink("a", dir.path().join("link")).unwrap();
        let source = open_folder_source(dir.path());
        let expected = ["a/b/y.yaml", "a/x.yaml", "b.yaml", "link/b/y.yaml", "link/x.yaml"];
        assert_eq!(names(&*source).await, expected);
        assert_eq!(source.get("a/x.yaml", 100).await.unwrap(), b"a/x.yaml");
        assert_eq!(source.get("a/x.yaml", 3).await.unwrap(), b"a/x.", "one byte more than is allowed");
    }

    #[tokio::test]
    async fn a_tag_changes_with_its_file_only() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a.yaml", "1");
        write(dir.path(), "b.yaml", "1");
        let source = open_folder_source(dir.path());
        let before = source.list().await.unwrap();
        write(dir.path(), "a.new", "22");
        fs::rename(dir.path().join("a.new"), dir.path().join("a.yaml")).unwrap();
        let after = source.list().await.unwrap();
        assert_ne!(before[0].tag, after[0].tag);
        assert_eq!(before[1], after[1]);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_listed_is_the_mistake_of_its_user() {
        let dir = tempfile::tempdir().unwrap();
        let missing = open_folder_source(&dir.path().join("missing"));
        let error = missing.list().await.unwrap_err();
        assert_eq!(error.cause().code, greenroom_protocol::ErrorCode::InvalidInput);
        assert!(error.to_string().contains("missing cannot be read"), "{error}");
        symlink("..", dir.path().join("link")).unwrap();
        write(dir.path(), "a/x.yaml", "1");
        symlink("..", dir.path().join("a/up")).unwrap();
        let error = open_folder_source(dir.path()).list().await.unwrap_err();
        assert!(error.to_string().contains("contains it"), "{error}");
    }
}
