//! The artifact store in a directory: one file for each artifact, named by its hash, in 256
//! subdirectories. Beside it are its owners (`owners`).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ArtifactRef, ContentHash, TenantId, Timestamp};

use crate::artifacts::hash_scan::hashes_in;
use crate::artifacts::{
    ArtifactError, ArtifactInfo, ArtifactOwner, ArtifactStore, SweepReport, UNREFERENCED_RETENTION, reachable,
    reference,
};
use crate::error::StoreError;

use owners::Owners;

mod owners;

#[derive(Debug, Clone)]
struct FsArtifactStore {
    root: Arc<Path>,
    staged: Arc<AtomicU64>,
    /// Locked while an existing file is touched and while a file is removed, so that `put` never reports
    /// a file as stored that a sweep is about to remove.
    sweep_lock: Arc<Mutex<()>>,
}

/// Opens the directory, or creates it. Files that a crash left partly written are removed.
///
/// # Errors
/// [`StoreError`] if the directory cannot be created or read.
pub fn open_fs_artifacts(root: &Path) -> Result<Arc<dyn ArtifactStore>, StoreError> {
    let staging = root.join(STAGING_DIR);
    fs::create_dir_all(&staging)?;
    for staging_path in fs::read_dir(&staging)? {
        fs::remove_file(staging_path?.path())?;
    }
    Ok(Arc::new(FsArtifactStore { root: root.into(), staged: Arc::default(), sweep_lock: Arc::default() }))
}

/// The directory of files until they are complete.
const STAGING_DIR: &str = "staging";

impl FsArtifactStore {
    fn path(&self, hash: &ContentHash) -> PathBuf {
        let name = hash.to_string();
        let directory = name.get(..2).unwrap_or_default();
        self.root.join(directory).join(&name)
    }

    /// Writes to a staging file, flushes it and renames it, so that a file with an artifact's name is
    /// always complete. The owner is added to a complete file only.
    fn store(&self, owner: &ArtifactOwner, hash: &ContentHash, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(hash);
        let directory = path.parent().unwrap_or(&self.root);
        if !self.touch_existing(hash, &path)? {
            self.write_new(hash, &path, directory, bytes)?;
        } else if Owners::beside(&path).contains(&owner.tenant)? && !owner.personal_data {
            return Ok(());
        }
        Owners::beside(&path).add(owner)?;
        fs::File::open(directory)?.sync_all()?;
        Ok(())
    }

    fn write_new(&self, hash: &ContentHash, path: &Path, directory: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        fs::create_dir_all(directory)?;
        let staging_path = self.staging_path(hash);
        let written = write_synced(&staging_path, bytes).and_then(|()| fs::rename(&staging_path, path));
        if let Err(error) = written {
            // If the staging file cannot be removed now, the next start removes it.
            let _ = fs::remove_file(&staging_path);
            return Err(error.into());
        }
        Ok(())
    }

    fn staging_path(&self, hash: &ContentHash) -> PathBuf {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        self.root.join(STAGING_DIR).join(format!("{hash}.{number}"))
    }

    /// True if the file exists already. Its modification time becomes the current time, which a new file
    /// gets from the file system: the clock of a sweep must be the same as that of the files.
    fn touch_existing(&self, hash: &ContentHash, path: &Path) -> Result<bool, StoreError> {
        let _guard = self.sweep_lock();
        let file = match fs::File::options().append(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let staging_path = self.staging_path(hash);
        let now = fs::File::create_new(&staging_path)?.metadata()?.modified()?;
        fs::remove_file(&staging_path)?;
        file.set_modified(now)?;
        Ok(true)
    }

    fn sweep_lock(&self) -> MutexGuard<'_, ()> {
        self.sweep_lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists every artifact with its path. Files with other names are ignored.
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

    fn sweep(
        &self,
        referenced: &HashSet<ContentHash>,
        tenant: Option<&TenantId>,
        now: Timestamp,
    ) -> Result<SweepReport, StoreError> {
        let all = self.list_files()?;
        let cutoff = since_1970(now).saturating_sub(UNREFERENCED_RETENTION);
        let is_root = |hash: &ContentHash| {
            referenced.contains(hash) || all.get(hash).is_some_and(|path| is_newer_than(path, cutoff))
        };
        let hashes_of = |hash: &ContentHash| match all.get(hash) {
            Some(path) => Ok(hashes_in(fs::File::open(path)?)?),
            None => Ok(HashSet::new()),
        };
        let reachable = reachable(&all.keys().copied().collect(), is_root, hashes_of)?;
        let mut report = SweepReport::default();
        for (_, path) in all.iter().filter(|(hash, _)| !reachable.contains(hash)) {
            let _guard = self.sweep_lock();
            // It may have been put again while the other artifacts were scanned.
            if !is_newer_than(path, cutoff) {
                remove(path, tenant, &mut report)?;
            }
        }
        Ok(report)
    }

    fn info(&self, tenant: &TenantId, hash: &ContentHash) -> Result<Option<ArtifactInfo>, StoreError> {
        let path = self.path(hash);
        let owners = Owners::beside(&path);
        if !owners.contains(tenant)? {
            return Ok(None);
        }
        match fs::metadata(&path) {
            Ok(file) => Ok(Some(ArtifactInfo { bytes: file.len(), personal_data: owners.has_personal_data(tenant)? })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn mark_personal_data(&self, tenant: &TenantId, hash: &ContentHash) -> Result<(), StoreError> {
        let owners = Owners::beside(&self.path(hash));
        if owners.contains(tenant)? {
            owners.add(&ArtifactOwner { tenant: tenant.clone(), personal_data: true })?;
        }
        Ok(())
    }

    fn fetch(&self, tenant: &TenantId, hash: &ContentHash, bytes_max: u64) -> Result<Option<Vec<u8>>, ArtifactError> {
        let path = self.path(hash);
        if !Owners::beside(&path).contains(tenant).map_err(StoreError::from)? {
            return Ok(None);
        }
        let file = match fs::File::open(&path) {
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
        if ContentHash::from_content(&bytes) == *hash {
            Ok(Some(bytes))
        } else {
            Err(ArtifactError::Damaged { hash: *hash })
        }
    }
}

/// Removes an unreachable artifact, or what belongs to one tenant of it. The owners are removed first: a file
/// without owners exists for nobody, and the next sweep removes it.
fn remove(path: &Path, tenant: Option<&TenantId>, report: &mut SweepReport) -> Result<(), StoreError> {
    let (owners, bytes) = (Owners::beside(path), fs::metadata(path)?.len());
    if let Some(tenant) = tenant {
        if !owners.remove(tenant)? {
            return Ok(());
        }
        report.artifacts += 1;
        report.bytes += bytes;
        if !owners.is_empty()? {
            return Ok(());
        }
    }
    owners.clear()?;
    fs::remove_file(path)?;
    if tenant.is_none() {
        report.artifacts += 1;
        report.bytes += bytes;
    }
    Ok(())
}

/// True if the file was put after the cutoff, or its modification time cannot be read.
fn is_newer_than(path: &Path, cutoff: Duration) -> bool {
    let put = fs::metadata(path).and_then(|metadata| metadata.modified());
    put.map_or(true, |put| put.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() > cutoff)
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
    async fn put(
        &self,
        owner: &ArtifactOwner,
        bytes: Vec<u8>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, ArtifactError> {
        let reference = reference(&bytes, media_type, name)?;
        let (store, owner, hash) = (self.clone(), owner.clone(), reference.hash);
        run_blocking(move || store.store(&owner, &hash, &bytes)).await??;
        Ok(reference)
    }

    async fn get(
        &self,
        tenant: &TenantId,
        hash: &ContentHash,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, ArtifactError> {
        let (store, tenant, hash) = (self.clone(), tenant.clone(), *hash);
        run_blocking(move || store.fetch(&tenant, &hash, bytes_max)).await?
    }

    async fn info(&self, tenant: &TenantId, hash: &ContentHash) -> Result<Option<ArtifactInfo>, ArtifactError> {
        let (store, tenant, hash) = (self.clone(), tenant.clone(), *hash);
        Ok(run_blocking(move || FsArtifactStore::info(&store, &tenant, &hash)).await??)
    }

    async fn mark_personal_data(&self, tenant: &TenantId, hash: &ContentHash) -> Result<(), ArtifactError> {
        let (store, tenant, hash) = (self.clone(), tenant.clone(), *hash);
        Ok(run_blocking(move || FsArtifactStore::mark_personal_data(&store, &tenant, &hash)).await??)
    }

    async fn sweep(
        &self,
        referenced: HashSet<ContentHash>,
        tenant: Option<&TenantId>,
        now: Timestamp,
    ) -> Result<SweepReport, StoreError> {
        let (store, tenant) = (self.clone(), tenant.cloned());
        run_blocking(move || FsArtifactStore::sweep(&store, &referenced, tenant.as_ref(), now)).await?
    }
}

/// Runs file operations on tokio's blocking threads and waits for the result.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    let result = tokio::task::spawn_blocking(work).await;
    result.map_err(|error| StoreError::Failed(format!("a file operation ended early: {error}")))
}
