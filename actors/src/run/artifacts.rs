//! The artifacts of a run: those of its tenant, and personal data if one of its agents processes such data.

use greenroom_protocol::{ArtifactRef, Cause, ContentHash, TenantId};
use greenroom_registry::artifacts::{ARTIFACT_BYTES_MAX, ArtifactOwner, ArtifactStore};

use crate::handler::unknown_artifact_error;

/// The artifacts of a run.
#[derive(Clone, Copy)]
pub(super) struct RunArtifacts<'r> {
    pub(super) store: &'r dyn ArtifactStore,
    /// The tenant of the run.
    pub(super) tenant: &'r TenantId,
    /// True if an agent of the run processes personal data.
    pub(super) personal_data: bool,
}

impl RunArtifacts<'_> {
    /// Reads an artifact.
    ///
    /// # Errors
    /// `unknown_record` if the tenant has no such artifact; an error of the store.
    pub(super) async fn get(&self, hash: &ContentHash) -> Result<Vec<u8>, Cause> {
        let bytes = self.store.get(self.tenant, hash, ARTIFACT_BYTES_MAX).await.map_err(|error| error.cause())?;
        bytes.ok_or_else(|| unknown_artifact_error(hash))
    }

    /// Stores a value of the run.
    ///
    /// # Errors
    /// An error of the store.
    pub(super) async fn put(&self, bytes: Vec<u8>, media_type: &str, name: &str) -> Result<ArtifactRef, Cause> {
        let owner = ArtifactOwner { tenant: self.tenant.clone(), personal_data: self.personal_data };
        self.store.put(&owner, bytes, media_type, name).await.map_err(|error| error.cause())
    }
}
