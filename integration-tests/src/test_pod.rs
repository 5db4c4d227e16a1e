//! A whole house in a test or a benchmark: the real composition, in a folder of its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use greenroom_client::Client;
use greenroom_protocol::{Json, UserId, Values};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{Config, StoreConfig, SyncMode};
use greenroom_supervisor::pod::Pod;
use tempfile::TempDir;

/// Which stores a house has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In memory.
    Memory,
    /// In SQLite, each commit synced.
    Full,
    /// In SQLite, commits not synced.
    Normal,
}

/// A house and the folder that it lives in.
pub struct TestPod {
    /// The house.
    pub pod: Pod,
    /// Its folder; gone with it.
    pub folder: TempDir,
}

impl TestPod {
    /// A client that speaks for the administrator.
    ///
    /// # Errors
    /// Never; the name is a user's.
    pub fn admin(&self) -> anyhow::Result<Client> {
        Ok(self.pod.client(&UserId::new("admin")?))
    }
}

/// The default configuration in `dir`, with these stores and, where given, these definitions.
///
/// # Errors
/// What the configuration says.
pub fn test_config(dir: &Path, keeps: StoreKind, definitions: Option<&Path>) -> anyhow::Result<Config> {
    let mut config = Config::defaults(dir)?;
    config.definitions_dir = definitions.map(Path::to_owned);
    let path = dir.join("greenroom.db");
    config.store = match keeps {
        StoreKind::Memory => StoreConfig::Memory,
        StoreKind::Full => StoreConfig::Sqlite { path, sync: SyncMode::Full },
        StoreKind::Normal => StoreConfig::Sqlite { path, sync: SyncMode::Normal },
    };
    // A benchmark asks more often in a minute than a person may in an hour.
    for user in config.users.users.iter_mut() {
        user.rate_limit = u64::MAX >> 1;
    }
    Ok(config)
}

/// Builds a house in a fresh folder.
///
/// # Errors
/// What the composition says.
pub async fn start_pod(keeps: StoreKind, definitions: Option<&Path>, extras: Overrides) -> anyhow::Result<TestPod> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir_all(folder.path())?;
    let config = test_config(folder.path(), keeps, definitions)?;
    let pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), extras)
        .await
        .context("the house cannot be built")?;
    Ok(TestPod { pod, folder })
}

/// One text input, as the generated agents and workflows take it.
#[must_use]
pub fn text(value: impl Into<String>) -> Values {
    Values::from([("text".to_owned(), Json::String(value.into()))])
}
