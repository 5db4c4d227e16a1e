//! From the configuration to the store of artifacts: a bucket, a folder, or memory.

use std::path::Path;
use std::sync::Arc;

use greenroom_protocol::{Cause, IdGenerator};
use greenroom_registry::artifacts::ArtifactStore;
use greenroom_registry::{
    FolderSharing, S3Settings, S3Timeouts, in_memory_artifacts, open_fs_artifacts, open_s3_artifacts,
};

use crate::config::Config;
use crate::config::artifacts::{KEY_PREFIX, S3Config, S3Endpoint};

/// Opens the bucket if one is configured, or else the folder; without one, artifacts live as long as the process.
///
/// # Errors
/// Those of the store.
pub(super) async fn open(
    config: &Config,
    ids: &Arc<dyn IdGenerator>,
    folder: Option<&Path>,
) -> Result<Arc<dyn ArtifactStore>, Cause> {
    let ids = Arc::clone(ids);
    let opened = match (&config.artifacts.s3, folder) {
        (Some(s3), _) => open_s3_artifacts(s3_settings(s3), ids).await,
        (None, Some(folder)) => {
            let sharing = match config.artifacts.shared {
                true => FolderSharing::SeveralProcesses,
                false => FolderSharing::OneProcess,
            };
            open_fs_artifacts(folder, sharing, ids)
        }
        (None, None) => Ok(in_memory_artifacts()),
    };
    opened.map_err(|error| error.cause())
}

/// The settings of the client of S3.
pub(crate) fn s3_settings(s3: &S3Config) -> S3Settings {
    let S3Config { endpoint, ca_file, bucket, region, access_key_id, secret_access_key } = s3.clone();
    let endpoint = match endpoint {
        S3Endpoint::Aws => None,
        S3Endpoint::Url(url) => Some(url),
    };
    S3Settings {
        endpoint,
        ca_file,
        bucket,
        prefix: KEY_PREFIX.to_owned(),
        region,
        access_key_id: access_key_id.reveal().to_owned(),
        secret_access_key: secret_access_key.reveal().to_owned(),
        timeouts: S3Timeouts::default(),
    }
}
