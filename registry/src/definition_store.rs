//! The bodies of definitions by their hash, so that a run that is pinned to a version finds it after
//! the file has changed.

use async_trait::async_trait;
use greenroom_protocol::ContentHash;

use crate::error::StoreError;

/// Bytes of one body.
pub const DEFINITION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Keeps bodies of definitions.
#[async_trait]
pub trait DefinitionStore: Send + Sync {
    /// Keeps a body under the hash that its definition has; durable when it returns. The same hash
    /// twice is kept once.
    ///
    /// # Errors
    /// [`StoreError`], and then it was not kept.
    async fn put(&self, hash: &ContentHash, body: &str) -> Result<(), StoreError>;

    /// A body; `None` if there is none of this hash.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    async fn get(&self, hash: &ContentHash) -> Result<Option<String>, StoreError>;
}
