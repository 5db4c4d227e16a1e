//! The owners of an artifact in a directory: beside its file is a folder with an empty file for each tenant
//! that it belongs to, and another one if it holds personal data. A file is named by the digest of the
//! tenant's id, because a file system may not distinguish the ids `Acme` and `acme`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use greenroom_protocol as protocol;
use protocol::{ContentHash, TenantId};

use crate::artifacts::ArtifactOwner;

/// The owners of one artifact.
pub(super) struct Owners {
    folder: PathBuf,
}

impl Owners {
    /// The owners of the artifact in this file.
    pub(super) fn beside(artifact: &Path) -> Self {
        Self { folder: artifact.with_extension("owners") }
    }

    /// Adds an owner durably, except for the entry of the folder itself, which the caller flushes.
    pub(super) fn add(&self, owner: &ArtifactOwner) -> io::Result<()> {
        let personal = owner.personal_data.then(|| self.personal_mark(&owner.tenant));
        let marks: Vec<PathBuf> = [self.mark(&owner.tenant)].into_iter().chain(personal).collect();
        if marks.iter().all(|mark| mark.exists()) {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        for mark in &marks {
            fs::File::create(mark)?;
        }
        fs::File::open(&self.folder)?.sync_all()
    }

    pub(super) fn contains(&self, tenant: &TenantId) -> io::Result<bool> {
        self.mark(tenant).try_exists()
    }

    /// True if the artifact holds personal data of this tenant.
    pub(super) fn has_personal_data(&self, tenant: &TenantId) -> io::Result<bool> {
        self.personal_mark(tenant).try_exists()
    }

    /// Removes a tenant; false if it was no owner.
    pub(super) fn remove(&self, tenant: &TenantId) -> io::Result<bool> {
        remove_if_present(&self.personal_mark(tenant))?;
        remove_if_present(&self.mark(tenant))
    }

    pub(super) fn is_empty(&self) -> io::Result<bool> {
        match fs::read_dir(&self.folder) {
            Ok(mut marks) => Ok(marks.next().is_none()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Removes all owners.
    pub(super) fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn mark(&self, tenant: &TenantId) -> PathBuf {
        self.folder.join(ContentHash::from_content(tenant.as_str().as_bytes()).to_string())
    }

    fn personal_mark(&self, tenant: &TenantId) -> PathBuf {
        self.mark(tenant).with_extension("personal")
    }
}

fn remove_if_present(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
