//! The artifacts in a folder: a key is a path in it. A file with a key as its name is complete, because it is written
//! under another name, flushed and renamed. Several processes may use the folder, if each of them mounts it.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use greenroom_protocol::IdGenerator;

use crate::artifacts::ArtifactStore;
use crate::artifacts::key::{KeyGroup, TenantKeys};
use crate::artifacts::object_artifacts::ObjectArtifacts;
use crate::artifacts::objects::{Label, Object, Objects, Upload};
use crate::error::StoreError;

use blocking::run_blocking;
use upload::FolderUpload;

mod blocking;
mod durable;
mod upload;

/// Bytes that are read at once.
const READ_BYTES: u64 = 256 * 1024;

/// Who uses a folder of artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderSharing {
    /// This process only. What an earlier one left unfinished is removed at once.
    OneProcess,
    /// Other pods too. What one of them left unfinished is removed by a sweep.
    SeveralProcesses,
}

/// Opens the folder, or creates it.
///
/// # Errors
/// [`StoreError`] if the folder cannot be created or read.
pub fn open_fs_artifacts(
    root: &Path,
    sharing: FolderSharing,
    ids: Arc<dyn IdGenerator>,
) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    fs::create_dir_all(root)?;
    if sharing == FolderSharing::OneProcess {
        for tenant in entries(root)?.into_iter().filter(|entry| entry.is_folder) {
            remove_files(&root.join(TenantKeys::from_prefix(tenant.name).group(KeyGroup::Staging)))?;
        }
    }
    Ok(Arc::new(ObjectArtifacts::new(Folder { root: root.into() }, ids)))
}

/// Objects in a folder.
#[derive(Debug, Clone)]
struct Folder {
    root: Arc<Path>,
}

impl Folder {
    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }
}

/// A file or a folder in a folder.
struct Entry {
    name: String,
    is_folder: bool,
    bytes: u64,
}

/// The files and folders in a folder; none if it does not exist. Names that are not UTF-8 are none of the store's.
fn entries(folder: &Path) -> Result<Vec<Entry>, StoreError> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut entries = Vec::new();
    for entry in read {
        let entry = entry?;
        // A file that is removed meanwhile is not in the list.
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        if let Ok(name) = entry.file_name().into_string() {
            entries.push(Entry { name, is_folder: metadata.is_dir(), bytes: metadata.len() });
        }
    }
    Ok(entries)
}

/// True if a file does not exist, also because its folder is a file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn remove_files(folder: &Path) -> Result<(), StoreError> {
    for entry in entries(folder)?.into_iter().filter(|entry| !entry.is_folder) {
        remove(&folder.join(entry.name))?;
    }
    Ok(())
}

/// Removes a file, and its folder if it was the last one.
fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if !is_absent(&error) => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    // A folder that is not empty, or that a put has just filled, remains.
    let _ = path.parent().map(fs::remove_dir);
    Ok(())
}

/// The objects in a folder that is below the root by this prefix, and its folders.
fn list_folder(root: &Path, prefix: &str) -> Result<(Vec<Object>, Vec<String>), StoreError> {
    let (mut objects, mut folders) = (Vec::new(), Vec::new());
    for Entry { name, is_folder, bytes } in entries(&root.join(prefix))? {
        let key = format!("{prefix}/{name}");
        if is_folder {
            folders.push(key);
        } else {
            objects.push(Object { key, bytes });
        }
    }
    Ok((objects, folders))
}

/// Lists one folder, on a thread that may block.
fn list(folder: Folder, prefix: String) -> BoxStream<'static, Result<Object, StoreError>> {
    let listing = run_blocking(move || {
        let listed = list_folder(&folder.root, &prefix)?;
        Ok((folder, listed))
    });
    let listed = stream::once(listing).map_ok(|(folder, (objects, folders))| {
        let objects = stream::iter(objects).map(Ok);
        objects.chain(stream::iter(folders).flat_map(move |prefix| list(folder.clone(), prefix)))
    });
    listed.try_flatten().boxed()
}

/// A file that is read, and the bytes of it that are to come.
type OpenRange = (fs::File, Range<u64>);

/// Reads the next chunk; `None` at the end of the range. A file that is shorter than a list had it ends early, which is
/// noticed where the chunks are verified.
async fn read_chunk((mut file, range): OpenRange) -> Result<Option<(Bytes, OpenRange)>, StoreError> {
    run_blocking(move || {
        let length = range.end.saturating_sub(range.start).min(READ_BYTES);
        let mut chunk = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        file.by_ref().take(length).read_to_end(&mut chunk)?;
        let start = range.start.saturating_add(chunk.len() as u64);
        let is_end = chunk.is_empty();
        Ok((!is_end).then(|| (Bytes::from(chunk), (file, start..range.end))))
    })
    .await
}

#[async_trait]
impl Objects for Folder {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Object, StoreError>> {
        list(self.clone(), prefix.to_owned())
    }

    async fn list_prefixes(&self) -> Result<Vec<String>, StoreError> {
        let root = Arc::clone(&self.root);
        let entries = run_blocking(move || entries(&root)).await?;
        Ok(entries.into_iter().filter(|entry| entry.is_folder).map(|entry| entry.name).collect())
    }

    fn read(&self, key: &str, range: Range<u64>) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let path = self.path(key);
        let opening = run_blocking(move || {
            let mut file = fs::File::open(path)?;
            file.seek(SeekFrom::Start(range.start))?;
            Ok((file, range))
        });
        stream::once(opening).map_ok(|opened| stream::try_unfold(opened, read_chunk)).try_flatten().boxed()
    }

    async fn mark(&self, key: &str) -> Result<(), StoreError> {
        let (root, path) = (Arc::clone(&self.root), self.path(key));
        run_blocking(move || {
            durable::in_folder(&root, &path, || fs::File::create(&path).map(drop))?;
            Ok(durable::flush_folders(&root, &path)?)
        })
        .await
    }

    fn begin(&self, staging_key: &str, _label: Label) -> Box<dyn Upload> {
        Box::new(FolderUpload::new(Arc::clone(&self.root), self.path(staging_key)))
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        let folder = self.clone();
        run_blocking(move || keys.iter().try_for_each(|key| remove(&folder.path(key)))).await
    }
}
