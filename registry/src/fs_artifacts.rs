//! Artifacts in a folder: one file each, named by the hash of its bytes, in 256 sub-folders.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ArtifactRef, ContentHash, Timestamp};

use crate::artifacts::hash_scan::hashes_in;
use crate::artifacts::{ArtifactError, ArtifactStore, SweepReport, UNREFERENCED_RETENTION, reachable, reference};
use crate::error::StoreError;

#[derive(Debug, Clone)]
struct FsArtifactStore {
    root: Arc<Path>,
    drafts: Arc<AtomicU64>,
    /// Held where a file is found to be there, and where one is taken away: so that nobody is told
    /// that a file is kept which a sweep is about to drop.
    sweep_lock: Arc<Mutex<()>>,
}

/// Opens, or makes, the folder. What a crash left half written is removed.
///
/// # Errors
/// [`StoreError`] if the folder cannot be made or read.
pub fn open_fs_artifacts(root: &Path) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    let drafts = root.join(STAGING_DIR);
    fs::create_dir_all(&drafts)?;
    for draft in fs::read_dir(&drafts)? {
        fs::remove_file(draft?.path())?;
    }
    Ok(Arc::new(FsArtifactStore { root: root.into(), drafts: Arc::default(), sweep_lock: Arc::default() }))
}

/// Where files lie until they are whole.
const STAGING_DIR: &str = "drafts";

impl FsArtifactStore {
    fn path(&self, hash: &ContentHash) -> PathBuf {
        let name = hash.to_string();
        let directory = name.get(..2).unwrap_or_default();
        self.root.join(directory).join(&name)
    }

    /// Writes under another name, flushes, then renames: a file of the right name is always whole.
    fn keep(&self, hash: &ContentHash, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(hash);
        if self.touch_existing(hash, &path)? {
            return Ok(());
        }
        let directory = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(directory)?;
        let draft = self.draft(hash);
        let kept = write_synced(&draft, bytes).and_then(|()| fs::rename(&draft, &path));
        if let Err(error) = kept {
            // The draft is of no use to anybody; if it cannot be removed now, the next start does it.
            let _ = fs::remove_file(&draft);
            return Err(error.into());
        }
        fs::File::open(directory)?.sync_all()?;
        Ok(())
    }

    fn draft(&self, hash: &ContentHash) -> PathBuf {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        self.root.join(STAGING_DIR).join(format!("{hash}.{number}"))
    }

    /// True if the file is there already; from then on it counts as put just now. What is now, a new
    /// file knows from the file system.
    fn touch_existing(&self, hash: &ContentHash, path: &Path) -> Result<bool, StoreError> {
        let _shelves = self.sweep_lock();
        let file = match fs::File::options().append(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let draft = self.draft(hash);
        let now = fs::File::create_new(&draft)?.metadata()?.modified()?;
        fs::remove_file(&draft)?;
        file.set_modified(now)?;
        Ok(true)
    }

    fn sweep_lock(&self) -> MutexGuard<'_, ()> {
        self.sweep_lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every artifact, with its path. A file of another name is none of ours.
    fn list_files(&self) -> Result<HashMap<ContentHash, PathBuf>, StoreError> {
        let mut all = HashMap::new();
        for directory in fs::read_dir(&self.root)? {
            let directory = directory?;
            if !directory.file_type()?.is_dir() || directory.file_name() == STAGING_DIR {
                continue;
            }
            for file in fs::read_dir(directory.path())? {
                let file = file?;
                if let Some(hash) = file.file_name().to_str().and_then(|name| name.parse().ok()) {
                    all.insert(hash, file.path());
                }
            }
        }
        Ok(all)
    }

    fn sweep(&self, named: &HashSet<ContentHash>, now: Timestamp) -> Result<SweepReport, StoreError> {
        let all = self.list_files()?;
        let until = since_1970(now).saturating_sub(UNREFERENCED_RETENTION);
        let is_held =
            |hash: &ContentHash| named.contains(hash) || all.get(hash).is_some_and(|path| is_newer_than(path, until));
        let inside = |hash: &ContentHash| match all.get(hash) {
            Some(path) => Ok(hashes_in(fs::File::open(path)?)?),
            None => Ok(HashSet::new()),
        };
        let stays = reachable(&all.keys().copied().collect(), is_held, inside)?;
        let mut swept = SweepReport::default();
        for (_, path) in all.iter().filter(|(hash, _)| !stays.contains(hash)) {
            let _shelves = self.sweep_lock();
            // It may have been put again while the others were read.
            if !is_newer_than(path, until) {
                swept.bytes += fs::metadata(path)?.len();
                fs::remove_file(path)?;
                swept.artifacts += 1;
            }
        }
        Ok(swept)
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

/// A file whose time cannot be read counts as put just now.
fn is_newer_than(path: &Path, until: Duration) -> bool {
    let put = fs::metadata(path).and_then(|metadata| metadata.modified());
    put.map_or(true, |put| put.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() > until)
}

fn since_1970(now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(now.as_micros()).unwrap_or_default())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

#[async_trait]
impl ArtifactStore for FsArtifactStore {
    async fn put(&self, bytes: Vec<u8>, media_type: &str, name: &str) -> Result<ArtifactRef, ArtifactError> {
        let reference = reference(&bytes, media_type, name)?;
        let (folder, hash) = (self.clone(), reference.hash);
        run_blocking(move || folder.keep(&hash, &bytes)).await??;
        Ok(reference)
    }

    async fn get(&self, hash: &ContentHash, bytes_max: u64) -> Result<Option<Vec<u8>>, ArtifactError> {
        let (folder, hash) = (self.clone(), *hash);
        run_blocking(move || folder.fetch(&hash, bytes_max)).await?
    }

    async fn sweep(&self, named: HashSet<ContentHash>, now: Timestamp) -> Result<SweepReport, StoreError> {
        let folder = self.clone();
        run_blocking(move || folder.sweep(&named, now)).await?
    }
}

/// Files are read and written on tokio's blocking threads; the caller waits for the end.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| StoreError::Failed(format!("the work on a file ended early: {error}")))
}
