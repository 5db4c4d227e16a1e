//! The artifacts in a request, as the store knows them. A request names an artifact by its hash; whether
//! the tenant has it, how large it is and whether it holds personal data is not the caller's word.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_actors::handler::unknown_artifact_error;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::artifacts::ArtifactStore;
use greenroom_rego::Authenticated;

/// Artifacts that one request may refer to.
const REQUEST_ARTIFACTS_MAX: usize = 10_000;

/// Looks up the artifacts of requests.
pub struct ArtifactLookup {
    pub(crate) store: Arc<dyn ArtifactStore>,
}

impl ArtifactLookup {
    /// Replaces the claimed size of each artifact in the request by its real one. True if one of them holds
    /// personal data.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownRecord`] if the tenant has no such artifact; [`ErrorCode::PayloadTooLarge`] if there
    /// are too many; those of the store.
    pub async fn resolve(&self, request: &mut Authenticated) -> Result<bool, Cause> {
        let hashes = request.artifacts();
        if hashes.len() > REQUEST_ARTIFACTS_MAX {
            let message =
                format!("the request refers to {} artifacts, the limit is {REQUEST_ARTIFACTS_MAX}", hashes.len());
            return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
        }
        let (mut sizes, mut has_personal_data) = (BTreeMap::new(), false);
        for hash in hashes {
            let info = self.store.info(&request.principal().id.tenant, &hash).await.map_err(|error| error.cause())?;
            let info = info.ok_or_else(|| unknown_artifact_error(&hash))?;
            has_personal_data |= info.personal_data;
            sizes.insert(hash, info.bytes);
        }
        request.set_artifact_sizes(&sizes);
        Ok(has_personal_data)
    }
}
