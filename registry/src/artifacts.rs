//! Bytes that are too large to travel, found by the hash of what they hold. What no record names any
//! more is swept away.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::limits::REQUEST_TIMEOUT_MAX;
use protocol::{ArtifactRef, Cause, ContentHash, ErrorCode, Timestamp};

use crate::error::StoreError;

pub(crate) mod hash_scan;

/// Bytes of one artifact.
pub const ARTIFACT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of an artifact's name and of its media type.
pub const LABEL_BYTES_MAX: usize = 255;
/// How long an artifact that no record names is left alone after it was put: whoever put it may be
/// about to name it, and no request is under way for longer than this.
pub const UNREFERENCED_RETENTION: Duration = REQUEST_TIMEOUT_MAX.saturating_mul(2);

/// Why an artifact was not kept or not given.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ArtifactError {
    /// It is larger than the store or the reader takes.
    #[error("the artifact has {bytes} bytes, at most {max} are taken")]
    TooLarge {
        /// How large it is.
        bytes: u64,
        /// What is taken.
        max: u64,
    },
    /// Its name or its media type is too long, or would be a path.
    #[error("an artifact's name has no slash and at most {LABEL_BYTES_MAX} bytes")]
    Label,
    /// What lies there is not what the hash says.
    #[error("the artifact {hash} is damaged")]
    Damaged {
        /// Its name in the store.
        hash: ContentHash,
    },
    /// The store failed.
    #[error("the artifact cannot be kept or read")]
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

/// What a sweep took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Artifacts.
    pub artifacts: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Keeps bytes.
#[async_trait]
pub trait ArtifactStore: Send + Sync {
    /// Keeps the bytes, durably; the same bytes twice are kept once.
    ///
    /// # Errors
    /// [`ArtifactError`], and then nothing was kept.
    async fn put(&self, bytes: Vec<u8>, media_type: &str, name: &str) -> Result<ArtifactRef, ArtifactError>;

    /// The bytes; `None` if there is no such artifact.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`] before anything is read; [`ArtifactError::Damaged`] if the bytes
    /// are not those that were put.
    async fn get(&self, hash: &ContentHash, bytes_max: u64) -> Result<Option<Vec<u8>>, ArtifactError>;

    /// Drops each artifact that was put last more than [`UNNAMED_KEPT`] ago and that nobody names:
    /// neither `named`, nor the JSON of an artifact that stays. It may be stopped at any moment and
    /// begun anew; nothing that is named is ever gone.
    ///
    /// # Errors
    /// [`StoreError`]; what was dropped before stays dropped.
    async fn sweep(&self, named: HashSet<ContentHash>, now: Timestamp) -> Result<SweepReport, StoreError>;
}

/// What stays of `all`: those that `is_held` says, and whatever their JSON names, however deep.
pub(crate) fn reachable(
    all: &HashSet<ContentHash>,
    is_held: impl Fn(&ContentHash) -> bool,
    names_in: impl Fn(&ContentHash) -> Result<HashSet<ContentHash>, StoreError>,
) -> Result<HashSet<ContentHash>, StoreError> {
    let mut unread: Vec<ContentHash> = all.iter().filter(|hash| is_held(hash)).copied().collect();
    let mut stays: HashSet<ContentHash> = unread.iter().copied().collect();
    while let Some(hash) = unread.pop() {
        for name in names_in(&hash)? {
            if all.contains(&name) && stays.insert(name) {
                unread.push(name);
            }
        }
    }
    Ok(stays)
}

/// Refuses what may not be kept, and otherwise answers the reference.
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
        hash: ContentHash::of(bytes),
        bytes: length,
        media_type: media_type.to_owned(),
        name: name.to_owned(),
    })
}
