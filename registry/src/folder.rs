//! Artifacts in a folder: one file each, named by the hash of its bytes, in 256 sub-folders.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ArtifactRef, ContentHash};

use crate::artifacts::{ArtifactError, Artifacts, reference};
use crate::error::StoreError;

#[derive(Debug, Clone)]
struct Folder {
    root: Arc<Path>,
    drafts: Arc<AtomicU64>,
}

/// Opens, or makes, the folder. What a crash left half written is removed.
///
/// # Errors
/// [`StoreError`] if the folder cannot be made or read.
pub fn open_folder(root: &Path) -> Result<Arc<dyn Artifacts>, StoreError> {
    let drafts = root.join(DRAFTS);
    fs::create_dir_all(&drafts)?;
    for draft in fs::read_dir(&drafts)? {
        fs::remove_file(draft?.path())?;
    }
    Ok(Arc::new(Folder { root: root.into(), drafts: Arc::default() }))
}

/// Where files lie until they are whole.
const DRAFTS: &str = "drafts";

impl Folder {
    fn path(&self, hash: &ContentHash) -> PathBuf {
        let name = hash.to_string();
        let shelf = name.get(..2).unwrap_or_default();
        self.root.join(shelf).join(&name)
    }

    /// Writes under another name, flushes, then renames: a file of the right name is always whole.
    fn keep(&self, hash: &ContentHash, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(hash);
        if path.exists() {
            return Ok(());
        }
        let shelf = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(shelf)?;
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let draft = self.root.join(DRAFTS).join(format!("{hash}.{number}"));
        let kept = write_synced(&draft, bytes).and_then(|()| fs::rename(&draft, &path));
        if let Err(error) = kept {
            // The draft is of no use to anybody; if it cannot be removed now, the next start does it.
            let _ = fs::remove_file(&draft);
            return Err(error.into());
        }
        fs::File::open(shelf)?.sync_all()?;
        Ok(())
    }

    fn fetch(&self, hash: &ContentHash, bytes_max: u64) -> Result<Option<Vec<u8>>, ArtifactError> {
        let file = match fs::File::open(self.path(hash)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::from(error).into()),
        };
        let length = file.metadata().map_err(StoreError::from)?.len();
        if length > bytes_max {
            return Err(ArtifactError::TooLarge { bytes: length, max: bytes_max });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        file.take(bytes_max).read_to_end(&mut bytes).map_err(StoreError::from)?;
        if ContentHash::of(&bytes) == *hash { Ok(Some(bytes)) } else { Err(ArtifactError::Damaged { hash: *hash }) }
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

#[async_trait]
impl Artifacts for Folder {
    async fn put(&self, bytes: Vec<u8>, media_type: &str, name: &str) -> Result<ArtifactRef, ArtifactError> {
        let reference = reference(&bytes, media_type, name)?;
        let (folder, hash) = (self.clone(), reference.hash);
        off_the_runtime(move || folder.keep(&hash, &bytes)).await??;
        Ok(reference)
    }

    async fn get(&self, hash: &ContentHash, bytes_max: u64) -> Result<Option<Vec<u8>>, ArtifactError> {
        let (folder, hash) = (self.clone(), *hash);
        off_the_runtime(move || folder.fetch(&hash, bytes_max)).await?
    }
}

/// Files are read and written on tokio's blocking threads; the caller waits for the end.
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| StoreError::Failed(format!("the work on a file ended early: {error}")))
}
