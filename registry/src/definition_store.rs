//! Versions of definitions by their hash, so that a run that is pinned to a version can load it after
//! the file has changed.

use async_trait::async_trait;
use greenroom_protocol::ContentHash;

use crate::error::StoreError;

/// Bytes of one definition.
pub const DEFINITION_BYTES_MAX: usize = 4 * 1024 * 1024;

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
}
