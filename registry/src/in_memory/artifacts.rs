//! Artifacts in memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ArtifactRef, ContentHash, Timestamp};

use crate::artifacts::hash_scan::hashes_in;
use crate::artifacts::{ArtifactError, ArtifactStore, SweepReport, UNREFERENCED_RETENTION, reachable, reference};
use crate::error::StoreError;
use crate::in_memory::shared::lock;

#[derive(Debug, Default)]
struct InMemoryArtifacts(Mutex<HashMap<ContentHash, StoredArtifact>>);

#[derive(Debug)]
struct StoredArtifact {
    bytes: Arc<[u8]>,
    put_at: Instant,
}

/// Creates an artifact store that lives as long as the process.
#[must_use]
pub fn in_memory_artifacts() -> Arc<dyn ArtifactStore> {
    Arc::new(InMemoryArtifacts::default())
}

#[async_trait]
impl ArtifactStore for InMemoryArtifacts {
    async fn put(&self, bytes: Vec<u8>, media_type: &str, name: &str) -> Result<ArtifactRef, ArtifactError> {
        let reference = reference(&bytes, media_type, name)?;
        let put_at = Instant::now();
        lock(&self.0).entry(reference.hash).or_insert_with(|| StoredArtifact { bytes: bytes.into(), put_at }).put_at =
            put_at;
        Ok(reference)
    }

    async fn get(&self, hash: &ContentHash, bytes_max: u64) -> Result<Option<Vec<u8>>, ArtifactError> {
        let Some(bytes) = lock(&self.0).get(hash).map(|stored| Arc::clone(&stored.bytes)) else { return Ok(None) };
        let length = bytes.len() as u64;
        if length > bytes_max {
            return Err(ArtifactError::TooLarge { bytes: length, max: bytes_max });
        }
        Ok(Some(bytes.to_vec()))
    }

    async fn sweep(&self, referenced: HashSet<ContentHash>, _now: Timestamp) -> Result<SweepReport, StoreError> {
        let mut all = lock(&self.0);
        let is_root = |hash: &ContentHash| {
            referenced.contains(hash)
                || all.get(hash).is_some_and(|stored| stored.put_at.elapsed() < UNREFERENCED_RETENTION)
        };
        let hashes_of = |hash: &ContentHash| match all.get(hash) {
            Some(stored) => Ok(hashes_in(&*stored.bytes)?),
            None => Ok(HashSet::new()),
        };
        let reachable = reachable(&all.keys().copied().collect(), is_root, hashes_of)?;
        let mut report = SweepReport::default();
        all.retain(|hash, stored| {
            let is_reachable = reachable.contains(hash);
            if !is_reachable {
                report.artifacts += 1;
                report.bytes += stored.bytes.len() as u64;
            }
            is_reachable
        });
        Ok(report)
    }
}
