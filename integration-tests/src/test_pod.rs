//! A whole pod for a test or a benchmark: the real composition, in a folder of its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use greenroom_client::Client;
use greenroom_protocol::{Json, UserId, Values};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{Config, Secret, StoreConfig, SyncMode};
use greenroom_supervisor::pod::Pod;
use tempfile::TempDir;

/// The stores of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In memory.
    Memory,
    /// In SQLite, each commit synced.
    Full,
    /// In SQLite, commits not synced.
    Normal,
}

/// A pod and its folder.
pub struct TestPod {
    /// The pod.
    pub pod: Pod,
    /// Its folder, which is removed on drop.
    pub folder: TempDir,
}

impl TestPod {
    /// A client that authenticates as the administrator.
    ///
    /// # Errors
    /// Never: `admin` is a valid user name.
    pub fn admin(&self) -> anyhow::Result<Client> {
        Ok(self.pod.client(&UserId::new("admin")?))
    }
}

/// The default configuration in `dir`, with these stores and, if present, these definitions.
///
/// # Errors
/// If the defaults are not valid for this folder.
pub fn test_config(dir: &Path, store: StoreKind, definitions: Option<&Path>) -> anyhow::Result<Config> {
    let mut config = Config::defaults(dir)?;
    config.definitions = definitions.map(|dir| dir.to_owned().into());
    let path = dir.join("greenroom.db");
    config.store = match store {
        StoreKind::Memory => StoreConfig::Memory,
        StoreKind::Full => StoreConfig::Sqlite { path, sync: SyncMode::Full },
        StoreKind::Normal => StoreConfig::Sqlite { path, sync: SyncMode::Normal },
    };
    // A benchmark sends more requests in a minute than the default limit allows a user in an hour.
    for user in config.users.users.iter_mut() {
        user.rate_limit = u64::MAX >> 1;
        user.query_limit = u64::MAX >> 1;
    }
    Ok(config)
}

/// Starts a pod in a new folder.
///
/// # Errors
/// If the pod cannot be assembled.
pub async fn start_pod(store: StoreKind, definitions: Option<&Path>, overrides: Overrides) -> anyhow::Result<TestPod> {
    let folder = tempfile::tempdir()?;
    let config = test_config(folder.path(), store, definitions)?;
    assemble(&config, folder, overrides).await
}

/// As [`start_pod`], with a configuration that is changed first.
///
/// # Errors
/// If the pod cannot be assembled.
pub async fn start_configured_pod(
    definitions: Option<&Path>,
    overrides: Overrides,
    configure: impl FnOnce(&mut Config),
) -> anyhow::Result<TestPod> {
    let folder = tempfile::tempdir()?;
    let mut config = test_config(folder.path(), StoreKind::Memory, definitions)?;
    configure(&mut config);
    assemble(&config, folder, overrides).await
}

/// As [`start_pod`], in the PostgreSQL database with this URL, whose schema is migrated.
///
/// # Errors
/// If the pod cannot be assembled.
pub async fn start_pod_on(url: &str, definitions: Option<&Path>, overrides: Overrides) -> anyhow::Result<TestPod> {
    let folder = tempfile::tempdir()?;
    let mut config = test_config(folder.path(), StoreKind::Memory, definitions)?;
    config.store = StoreConfig::Postgres { url: Secret::new(url) };
    assemble(&config, folder, overrides).await
}

async fn assemble(config: &Config, folder: TempDir, overrides: Overrides) -> anyhow::Result<TestPod> {
    let pod = compose_with(config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides)
        .await
        .context("the pod cannot be assembled")?;
    Ok(TestPod { pod, folder })
}

/// The one text input that the generated agents and workflows take.
#[must_use]
pub fn text(value: impl Into<String>) -> Values {
    Values::from([("text".to_owned(), Json::String(value.into()))])
}
