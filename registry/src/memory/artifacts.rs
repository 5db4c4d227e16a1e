//! Artifacts in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ArtifactRef, ContentHash};

use crate::artifacts::{ArtifactError, Artifacts, reference};
use crate::memory::lock;

#[derive(Debug, Default)]
struct MemoryArtifacts(Mutex<HashMap<ContentHash, Arc<[u8]>>>);

/// Artifacts that live as long as the process.
#[must_use]
pub fn memory_artifacts() -> Arc<dyn Artifacts> {
    Arc::new(MemoryArtifacts::default())
}

#[async_trait]
impl Artifacts for MemoryArtifacts {
    async fn put(&self, bytes: Vec<u8>, media_type: &str, name: &str) -> Result<ArtifactRef, ArtifactError> {
        let reference = reference(&bytes, media_type, name)?;
        lock(&self.0).entry(reference.hash).or_insert_with(|| bytes.into());
        Ok(reference)
    }

    async fn get(&self, hash: &ContentHash, bytes_max: u64) -> Result<Option<Vec<u8>>, ArtifactError> {
        let Some(bytes) = lock(&self.0).get(hash).cloned() else { return Ok(None) };
        let length = bytes.len() as u64;
        if length > bytes_max {
            return Err(ArtifactError::TooLarge { bytes: length, max: bytes_max });
        }
        Ok(Some(bytes.to_vec()))
    }
}
