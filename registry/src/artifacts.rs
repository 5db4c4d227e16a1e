//! Artifacts: blobs that are too large for a message, addressed by the hash of their content. They are written and
//! read in chunks, so the size of an artifact is no matter of memory. An artifact belongs to the tenant that has put
//! it, and exists for no other. A sweep marks those that no record references with a tombstone, and removes them
//! later.

use std::collections::HashSet;
use std::future;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use greenroom_protocol as protocol;
use protocol::limits::REQUEST_TIMEOUT_MAX;
use protocol::{ArtifactRef, Cause, ContentHash, ErrorCode, TenantId, Timestamp};

use crate::error::StoreError;

pub(crate) mod content_scan;
pub(crate) mod hash_scan;
pub(crate) mod inventory;
pub(crate) mod key;
pub mod location;
pub(crate) mod object_artifacts;
pub(crate) mod objects;
mod sweep;
mod verify;

/// Bytes of one artifact.
pub const ARTIFACT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of an artifact's name and of its media type.
pub const LABEL_BYTES_MAX: usize = 255;
/// How long an artifact with a tombstone is retained: a request that put it or named it before may still store a
/// reference, and no request lasts longer than this.
pub const UNREFERENCED_RETENTION: Duration = REQUEST_TIMEOUT_MAX.saturating_mul(2);
/// The range of a whole artifact, whatever its size.
pub const WHOLE: Range<u64> = 0..u64::MAX;

/// The content of an artifact that is put, in chunks of any size. An error is a cause of its source, such as a file
/// that cannot be read or a peer that has disconnected.
pub type ArtifactSource<'a> = BoxStream<'a, Result<Bytes, Cause>>;

/// The source of content that is in memory.
#[must_use]
pub fn single_chunk(content: impl Into<Bytes>) -> ArtifactSource<'static> {
    stream::once(future::ready(Ok(content.into()))).boxed()
}

/// The content of an artifact that is read, or a range of it.
pub struct ArtifactContent {
    /// Bytes of the whole artifact.
    pub bytes: u64,
    /// The bytes that are read: the requested range, up to the end of the artifact.
    pub range: Range<u64>,
    /// The chunks of the range. An error ends them. If the range is the whole artifact, its last chunk arrives only if
    /// all of them have the hash.
    pub chunks: BoxStream<'static, Result<Bytes, ArtifactError>>,
}

impl ArtifactContent {
    /// Reads all chunks into memory, for a range whose length the caller has bounded.
    ///
    /// # Errors
    /// Those of the chunks.
    pub async fn collect(mut self) -> Result<Vec<u8>, ArtifactError> {
        let length = self.range.end.saturating_sub(self.range.start);
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        while let Some(chunk) = self.chunks.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes)
    }
}

/// An error of the artifact store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ArtifactError {
    /// It is larger than the limit of the store or of the reader.
    #[error("the artifact has {bytes} bytes or more, the limit is {max}")]
    TooLarge {
        /// Its size, or the bytes that have arrived of it.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Its name or its media type is empty, too long or a path.
    #[error(
        "an artifact's name and its media type have 1 to {LABEL_BYTES_MAX} bytes and no control characters such as line \
         ends, and its name no slash"
    )]
    Label,
    /// The stored bytes do not match the hash.
    #[error("the artifact {hash} is damaged")]
    Damaged {
        /// Its hash.
        hash: ContentHash,
    },
    /// The source of its content failed.
    #[error("the content of the artifact ended early: {0}")]
    Source(Cause),
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
            Self::Source(cause) => cause.clone(),
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
    /// Artifacts that have a tombstone since this sweep.
    pub tombstones: u64,
}

/// The artifact store.
#[async_trait]
pub trait ArtifactStore: Send + Sync {
    /// Stores the content durably for its owner. It is hashed while it is written, and exists for a reader only once it
    /// is complete. What the tenant has already is stored once.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`] above [`ARTIFACT_BYTES_MAX`]; [`ArtifactError::Source`] if the content ends with an
    /// error; [`ArtifactError`]. In each case the artifact does not exist for a reader, except that this is not known
    /// if the store did not reply in time.
    async fn put_stream(
        &self,
        owner: &ArtifactOwner,
        content: ArtifactSource<'_>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, ArtifactError>;

    /// Opens a range of an artifact; `None` if the tenant has no such artifact. A range that ends after the artifact
    /// ends with it.
    ///
    /// # Errors
    /// [`ArtifactError::Store`]. The chunks have errors of their own: [`ArtifactError::Damaged`] if the bytes do not
    /// match the hash or are fewer than the artifact had.
    async fn read(
        &self,
        tenant: &TenantId,
        hash: &ContentHash,
        range: Range<u64>,
    ) -> Result<Option<ArtifactContent>, ArtifactError>;

    /// Stores bytes that are in memory, as [`ArtifactStore::put_stream`] does.
    ///
    /// # Errors
    /// As [`ArtifactStore::put_stream`].
    async fn put(
        &self,
        owner: &ArtifactOwner,
        bytes: Vec<u8>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, ArtifactError> {
        self.put_stream(owner, single_chunk(bytes), media_type, name).await
    }

    /// Returns all bytes of a small artifact; `None` if the tenant has no such artifact.
    ///
    /// # Errors
    /// [`ArtifactError::TooLarge`] before anything is read; [`ArtifactError::Damaged`] if the bytes
    /// do not match the hash.
    async fn get(
        &self,
        tenant: &TenantId,
        hash: &ContentHash,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, ArtifactError> {
        let Some(content) = self.read(tenant, hash, WHOLE).await? else { return Ok(None) };
        if content.bytes > bytes_max {
            return Err(ArtifactError::TooLarge { bytes: content.bytes, max: bytes_max });
        }
        Ok(Some(content.collect().await?))
    }

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

    /// Marks each artifact that is not reachable with a tombstone: it is neither in `referenced` nor in the JSON of a
    /// reachable artifact. A later sweep removes it once its tombstone is older than [`UNREFERENCED_RETENTION`], unless
    /// it is reachable by then or was put again. With a tenant, only what belongs to that tenant is marked, removed and
    /// counted. A sweep may be interrupted and repeated at any time, also by several pods at once. `now` is the time of
    /// the clock that all pods share.
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
