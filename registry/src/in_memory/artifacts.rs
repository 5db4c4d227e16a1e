//! Artifacts in memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ArtifactRef, ContentHash, TenantId, Timestamp};

use crate::artifacts::hash_scan::hashes_in;
use crate::artifacts::{
    ArtifactError, ArtifactInfo, ArtifactOwner, ArtifactStore, SweepReport, UNREFERENCED_RETENTION, reachable,
    reference,
};
use crate::error::StoreError;
use crate::in_memory::shared::lock;

#[derive(Debug, Default)]
struct InMemoryArtifacts(Mutex<HashMap<ContentHash, StoredArtifact>>);

#[derive(Debug)]
struct StoredArtifact {
    bytes: Arc<[u8]>,
    /// The tenants that it belongs to, and whether it holds personal data.
    owners: HashMap<TenantId, bool>,
    put_at: Instant,
}

/// Creates an artifact store that lives as long as the process.
#[must_use]
pub fn in_memory_artifacts() -> Arc<dyn ArtifactStore> {
    Arc::new(InMemoryArtifacts::default())
}

#[async_trait]
impl ArtifactStore for InMemoryArtifacts {
    async fn put(
        &self,
        owner: &ArtifactOwner,
        bytes: Vec<u8>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, ArtifactError> {
        let reference = reference(&bytes, media_type, name)?;
        let put_at = Instant::now();
        let mut all = lock(&self.0);
        let new = || StoredArtifact { bytes: bytes.into(), owners: HashMap::new(), put_at };
        let stored = all.entry(reference.hash).or_insert_with(new);
        stored.put_at = put_at;
        *stored.owners.entry(owner.tenant.clone()).or_default() |= owner.personal_data;
        Ok(reference)
    }

    async fn get(
        &self,
        tenant: &TenantId,
        hash: &ContentHash,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, ArtifactError> {
        let bytes = {
            let all = lock(&self.0);
            let stored = all.get(hash).filter(|stored| stored.owners.contains_key(tenant));
            stored.map(|stored| Arc::clone(&stored.bytes))
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let length = bytes.len() as u64;
        if length > bytes_max {
            return Err(ArtifactError::TooLarge { bytes: length, max: bytes_max });
        }
        Ok(Some(bytes.to_vec()))
    }

    async fn info(&self, tenant: &TenantId, hash: &ContentHash) -> Result<Option<ArtifactInfo>, ArtifactError> {
        let all = lock(&self.0);
        Ok(all.get(hash).and_then(|stored| {
            let personal_data = *stored.owners.get(tenant)?;
            Some(ArtifactInfo { bytes: stored.bytes.len() as u64, personal_data })
        }))
    }

    async fn mark_personal_data(&self, tenant: &TenantId, hash: &ContentHash) -> Result<(), ArtifactError> {
        let mut all = lock(&self.0);
        if let Some(personal_data) = all.get_mut(hash).and_then(|stored| stored.owners.get_mut(tenant)) {
            *personal_data = true;
        }
        Ok(())
    }

    async fn sweep(
        &self,
        referenced: HashSet<ContentHash>,
        tenant: Option<&TenantId>,
        _now: Timestamp,
    ) -> Result<SweepReport, StoreError> {
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
            if reachable.contains(hash) {
                return true;
            }
            let is_removed = match tenant {
                Some(tenant) => stored.owners.remove(tenant).is_some(),
                None => true,
            };
            if is_removed {
                report.artifacts += 1;
                report.bytes += stored.bytes.len() as u64;
            }
            !is_removed || !(tenant.is_none() || stored.owners.is_empty())
        });
        Ok(report)
    }
}
