//! Versions of definitions by their hash, so that a run that is pinned to a version can load it after
//! the file has changed; and the versions that are in service, so that a definition remains in service
//! in its last valid version if its file is invalid when the next process starts.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::ContentHash;

use crate::error::StoreError;

/// Bytes of one definition.
pub const DEFINITION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One version in service, under the names that the catalogue gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInService {
    /// The kind of definition, such as `agent`.
    pub kind: String,
    /// Its id, which is unique within its kind.
    pub id: String,
    /// The file that contained it, relative to the source.
    pub file: Option<String>,
    /// The hash of its text: its version.
    pub hash: ContentHash,
    /// Its text.
    pub body: Arc<str>,
}

/// Stores versions of definitions.
#[async_trait]
pub trait DefinitionStore: Send + Sync {
    /// Stores the text of a definition under the definition's hash, and waits until it is durable.
    /// Storing the same hash again changes nothing.
    ///
    /// # Errors
    /// [`StoreError`], and then it was not stored.
    async fn put(&self, hash: &ContentHash, body: &str) -> Result<(), StoreError>;

    /// Returns the text of a definition; `None` if no definition has this hash.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn get(&self, hash: &ContentHash) -> Result<Option<String>, StoreError>;

    /// Replaces the versions in service by those of this source, such as a directory, and waits until
    /// they are durable. The store has the versions of one source only: the last one.
    ///
    /// # Errors
    /// [`StoreError`], and then nothing was replaced.
    async fn set_in_service(&self, source: &str, versions: &[VersionInService]) -> Result<(), StoreError>;

    /// Returns the versions of this source that were in service last, by kind and id; none if the store
    /// has those of another source.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    async fn list_in_service(&self, source: &str) -> Result<Vec<VersionInService>, StoreError>;
}

/// Checks the size of a definition.
pub(crate) fn check_size(body: &str) -> Result<(), StoreError> {
    if body.len() > DEFINITION_BYTES_MAX {
        return Err(StoreError::Codec(format!("a definition has at most {DEFINITION_BYTES_MAX} bytes")));
    }
    Ok(())
}
