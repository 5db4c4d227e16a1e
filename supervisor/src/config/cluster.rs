//! The section `cluster`: which pods belong together, and the secret by which they recognize each other.

use greenroom_protocol::{Cause, ErrorCode};

use super::reader::ConfigReader;
use super::secret::Secret;
use super::setting::Setting;
use crate::cluster::keys::SECRET_BYTES_MIN;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text(
        "cluster.name",
        &["GREENROOM_CLUSTER_NAME"],
        "the name that all pods of one cluster have; all of them use one database",
    )
    .or("greenroom"),
    Setting::text(
        "cluster.secret",
        &["GREENROOM_CLUSTER_SECRET"],
        "secret of the cluster, at least 16 bytes, from which the keys of the traffic between pods are derived; needed \
         with `nats.url`",
    )
    .masked(),
];

/// Bytes of a name.
const NAME_BYTES_MAX: usize = 64;

/// The cluster of this pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Its name.
    pub name: String,
    /// Its secret; `None` for a pod that has nothing to do with others over NATS.
    pub secret: Option<Secret>,
}

impl ClusterConfig {
    /// The secret, for what needs one.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] without one.
    pub fn require_secret(&self) -> Result<&Secret, Cause> {
        self.secret.as_ref().ok_or_else(|| {
            Cause::new(
                ErrorCode::InvalidConfiguration,
                "nats.url is set (environment variable NATS_URL) and cluster.secret is not: set \
                 GREENROOM_CLUSTER_SECRET to the same secret for all pods of the cluster",
            )
        })
    }
}

/// The configured cluster.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> ClusterConfig {
    let name = reader.get::<String>("cluster.name").unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_plain) {
        reader.report(format!(
            "cluster.name: {name:?} is not a name of letters, digits, `_`, `-` and `.`, at most {NAME_BYTES_MAX} bytes"
        ));
    }
    let secret = reader.get::<String>("cluster.secret").filter(|secret| !secret.is_empty());
    if secret.as_ref().is_some_and(|secret| secret.len() < SECRET_BYTES_MIN) {
        reader.report(format!("cluster.secret: it must have at least {SECRET_BYTES_MIN} bytes"));
    }
    ClusterConfig { name, secret: secret.map(Secret::new) }
}
