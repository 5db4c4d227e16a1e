//! Artifacts: blobs that are too large for a message, addressed by the hash of their content. The bytes
//! are stored once; the artifact belongs to each tenant that has put it, and exists for no other. A sweep
//! removes those that no record references.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::limits::REQUEST_TIMEOUT_MAX;
use protocol::{ArtifactRef, Cause, ContentHash, ErrorCode, TenantId, Timestamp};

use crate::error::StoreError;

pub(crate) mod hash_scan;

/// Bytes of one artifact.
pub const ARTIFACT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of an artifact's name and of its media type.
pub const LABEL_BYTES_MAX: usize = 255;
/// How long an artifact without a reference is retained after it was put: the request that put it may
/// still store a reference, and no request lasts longer than this.
pub const UNREFERENCED_RETENTION: Duration = REQUEST_TIMEOUT_MAX.saturating_mul(2);

/// An error of the artifact store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ArtifactError {
    /// It is larger than the limit of the store or of the reader.
    #[error("the artifact has {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Its name or its media type is empty, too long or a path.
    #[error("an artifact's name has no slash and at most {LABEL_BYTES_MAX} bytes")]
    Label,
    /// The stored bytes do not match the hash.
    #[error("the artifact {hash} is damaged")]
    Damaged {
        /// Its hash.
        hash: ContentHash,
    },
    /// The store failed.
    #[error("the artifact cannot be written or read")]
    Store(#[from] StoreError),
}

impl ArtifactError {
    /// The cause that a user sees.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::TooLarge { .. } => Cause::new(ErrorCode::PayloadTooLarge, self.to_string()),
            Self::Label => Cause::new(ErrorCode::InvalidInput, self.to_string()),
            Self::Damaged { .. } => Cause::new(ErrorCode::StoreUnavailable, self.to_string()),
            Self::Store(error) => error.cause(),
        }
    }
}

/// Whose artifact it is, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactOwner {
    /// The tenant that it belongs to.
    pub tenant: TenantId,
    /// True if it holds personal data. It remains so: a later put without personal data does not change it.
    pub personal_data: bool,
}

/// What the store knows of an artifact of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArtifactInfo {
    /// Bytes of its content.
    pub bytes: u64,
    /// True if it holds personal data.
    pub personal_data: bool,
}

/// The result of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Removed artifacts.
    pub artifacts: u64,
    /// Their total size in bytes.
    pub bytes: u64,
}

/// The artifact store.
#[async_trait]
pub trait ArtifactStore: Send + Sync {
    /// Stores the bytes durably for their owner. The same bytes are stored once, whoever puts them.
    ///
    /// # Errors
    /// [`ArtifactError`], and then nothing was stored.
    async fn put(
        &self,
        owner: &ArtifactOwner,
        bytes: Vec<u8>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, ArtifactError>;

    /// Returns the bytes; `None` if the tenant has no such artifact.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`] before anything is read; [`ArtifactError::Damaged`] if the bytes
    /// do not match the hash.
    async fn get(
        &self,
        tenant: &TenantId,
        hash: &ContentHash,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, ArtifactError>;

    /// Returns the size and the kind of an artifact; `None` if the tenant has no such artifact.
    ///
    /// # Errors
    /// [`ArtifactError::Store`].
    async fn info(&self, tenant: &TenantId, hash: &ContentHash) -> Result<Option<ArtifactInfo>, ArtifactError>;

    /// Records that an artifact of a tenant holds personal data. Without such an artifact nothing changes.
    ///
    /// # Errors
    /// [`ArtifactError::Store`].
    async fn mark_personal_data(&self, tenant: &TenantId, hash: &ContentHash) -> Result<(), ArtifactError>;

    /// Removes each artifact that was put last more than [`UNREFERENCED_RETENTION`] ago and is not
    /// reachable: neither in `referenced` nor in the JSON of a reachable artifact. With a tenant, only what
    /// belongs to that tenant is removed and counted. A sweep may be interrupted and repeated at any time;
    /// it never removes a reachable artifact.
    ///
    /// # Errors
    /// [`StoreError`]; artifacts that were removed before the error remain removed.
    async fn sweep(
        &self,
        referenced: HashSet<ContentHash>,
        tenant: Option<&TenantId>,
        now: Timestamp,
    ) -> Result<SweepReport, StoreError>;
}

/// Returns the reachable artifacts of `all`: the roots, and everything that their JSON references,
/// directly or indirectly.
pub(crate) fn reachable(
    all: &HashSet<ContentHash>,
    is_root: impl Fn(&ContentHash) -> bool,
    hashes_of: impl Fn(&ContentHash) -> Result<HashSet<ContentHash>, StoreError>,
) -> Result<HashSet<ContentHash>, StoreError> {
    let mut unscanned: Vec<ContentHash> = all.iter().filter(|hash| is_root(hash)).copied().collect();
    let mut reachable_hashes: HashSet<ContentHash> = unscanned.iter().copied().collect();
    while let Some(hash) = unscanned.pop() {
        for inner in hashes_of(&hash)? {
            if all.contains(&inner) && reachable_hashes.insert(inner) {
                unscanned.push(inner);
            }
        }
    }
    Ok(reachable_hashes)
}

/// Checks the limits of an artifact and returns its reference.
pub(crate) fn reference(bytes: &[u8], media_type: &str, name: &str) -> Result<ArtifactRef, ArtifactError> {
    let length = bytes.len() as u64;
    if length > ARTIFACT_BYTES_MAX {
        return Err(ArtifactError::TooLarge { bytes: length, max: ARTIFACT_BYTES_MAX });
    }
    let is_label = |text: &str| !text.is_empty() && text.len() <= LABEL_BYTES_MAX && !text.contains(char::is_control);
    if !is_label(name) || !is_label(media_type) || name.contains(['/', '\\']) {
        return Err(ArtifactError::Label);
    }
    Ok(ArtifactRef {
        hash: ContentHash::from_content(bytes),
        bytes: length,
        media_type: media_type.to_owned(),
        name: name.to_owned(),
    })
}
