//! What this process is told: defaults < file < environment < flags, each value with its origin.
//!
//! The names live in [`settings`], the layers in [`source`], the people in [`users`]. Nothing else in
//! the workspace reads the environment or a settings file.

pub mod secret;
pub mod settings;
pub mod source;
pub mod users;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use greenroom_protocol::PodId;
pub use greenroom_registry::SyncMode;
use serde::Deserialize;

pub use secret::Secret;
pub use source::{Flags, LoadedConfig, Origin, ResolvedSetting};
pub use users::{TenantConfig, UserConfig, UserDirectory};

/// What is wrong with the configuration; every problem of every layer at once.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl From<ConfigError> for greenroom_protocol::Cause {
    fn from(error: ConfigError) -> Self {
        Self::new(greenroom_protocol::ErrorCode::InvalidConfiguration, error.to_string())
    }
}

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// In this process; gone with it.
    Memory,
    /// In one SQLite file.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// How sure a commit is.
        sync: SyncMode,
    },
}

/// How many requests may be inside at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// Requests that this pod holds at one moment, in flight and waiting.
    pub max_in_flight: usize,
    /// Of them, those of one tenant.
    pub max_in_flight_per_tenant: usize,
    /// Requests between authentication and dispatch at one moment; 0 stands for four
    /// for each core.
    pub pipeline_concurrency: usize,
}

/// A provider of models, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// What stands before the dot of its models' names.
    pub name: String,
    /// The wire that it speaks, by genai's name: `openai`, `gemini`, `groq`, …
    pub wire: String,
    /// Its key; a server of one's own may need none.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// Its address, instead of the provider's own.
    #[serde(default)]
    pub base_url: Option<String>,
}

/// Which models there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelsConfig {
    /// The providers that have a key or an address.
    pub providers: Vec<ProviderConfig>,
    /// `OPENAI_MODEL`: the model that every tier then goes to.
    pub pod: Option<String>,
    /// What the provider `scripted` plays; for tests.
    pub script: Option<PathBuf>,
}

/// Everything that this process is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that one process owns.
    pub data_dir: PathBuf,
    /// The name of this pod in replies and in the audit.
    pub pod: PodId,
    /// A folder of definitions instead of the embedded catalogue; it is watched.
    pub definitions_dir: Option<PathBuf>,
    /// A folder with a policy bundle instead of the embedded one; it is watched.
    pub policy_dir: Option<PathBuf>,
    /// Folders in which a bare path inside an input may lie.
    pub files_roots: Vec<PathBuf>,
    /// Where state is kept.
    pub store: StoreConfig,
    /// The bounds at the door.
    pub admission: AdmissionConfig,
    /// Policy engines; 0 means one for each core.
    pub guard_workers: usize,
    /// Keys and addresses of models.
    pub models: ModelsConfig,
    /// Where `/metrics` is served while `up` runs; none turns it off.
    pub metrics: Option<SocketAddr>,
    /// Which log lines are written, as `tracing` directives.
    pub log_filter: String,
    /// How long a shutdown waits for what is under way.
    pub drain_timeout: Duration,
    /// Who may ask.
    pub users: UserDirectory,
    /// The user that the command line speaks for.
    pub user: greenroom_protocol::UserId,
}

impl Config {
    /// The folder of artifacts.
    #[must_use]
    pub fn artifacts_dir(&self) -> PathBuf {
        self.data_dir.join("artifacts")
    }

    /// The folder of compiled policy modules.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.data_dir.join("cache")
    }

    /// The socket on which the owner of the data directory listens.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.data_dir.join("control.sock")
    }

    /// The key that signs the audit's head. It lies outside the database on purpose.
    #[must_use]
    pub fn audit_key(&self) -> PathBuf {
        self.data_dir.join("audit.key")
    }

    /// Everything at its default, in `data_dir`, for tests and benchmarks: no file, no environment.
    ///
    /// # Errors
    /// [`ConfigError`], if the defaults are wrong; a test says that they are not.
    pub fn defaults(data_dir: &Path) -> Result<Self, ConfigError> {
        let flags = Flags { data_dir: Some(data_dir.to_owned()), ..Flags::default() };
        Ok(source::load(&flags, std::iter::empty())?.config)
    }
}

#[cfg(test)]
mod tests;
