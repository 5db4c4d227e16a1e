//! The artifacts of a run: those of its tenant, and personal data if one of its agents processes such data.

use greenroom_protocol::{ArtifactRef, Cause, ContentHash, RunId, TenantId};
use greenroom_registry::Stores;
use greenroom_registry::artifacts::{ARTIFACT_BYTES_MAX, ArtifactOwner};

use crate::handler::unknown_artifact_error;

/// The artifacts of a run.
#[derive(Clone, Copy)]
pub(super) struct RunArtifacts<'r> {
    pub(super) stores: &'r Stores,
    pub(super) run: &'r RunId,
    /// The tenant of the run.
    pub(super) tenant: &'r TenantId,
    /// True if an agent of the run is known to process personal data; otherwise the record of the run says
    /// whether an agent of a run that it called does.
    pub(super) personal_data: bool,
}

impl RunArtifacts<'_> {
    /// Reads an artifact.
    ///
    /// # Errors
    /// `unknown_record` if the tenant has no such artifact; an error of the store.
    pub(super) async fn get(&self, hash: &ContentHash) -> Result<Vec<u8>, Cause> {
        let bytes = self.stores.artifacts.get(self.tenant, hash, ARTIFACT_BYTES_MAX).await;
        bytes.map_err(|error| error.cause())?.ok_or_else(|| unknown_artifact_error(hash))
    }

    /// Stores a value of the run.
    ///
    /// # Errors
    /// An error of the stores.
    pub(super) async fn put(&self, bytes: Vec<u8>, media_type: &str, name: &str) -> Result<ArtifactRef, Cause> {
        let personal_data = self.personal_data || self.is_marked().await?;
        let owner = ArtifactOwner { tenant: self.tenant.clone(), personal_data };
        self.stores.artifacts.put(&owner, bytes, media_type, name).await.map_err(|error| error.cause())
    }

    async fn is_marked(&self) -> Result<bool, Cause> {
        let record = self.stores.runs.get(self.run).await.map_err(|error| error.cause())?;
        Ok(record.is_some_and(|record| record.personal_data))
    }
}
