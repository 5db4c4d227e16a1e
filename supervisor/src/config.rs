//! The configuration of this process: defaults < file < environment < flags, each value with its origin.
//!
//! Each section describes, reads and checks its settings in a file of its own; [`settings`] collects
//! their table and [`source`] loads the layers. No other code in the workspace reads the environment or
//! a settings file.

pub mod admission;
pub mod artifacts;
pub mod audit;
pub mod cluster;
pub mod definitions;
pub mod files;
pub mod guard;
pub mod http;
pub mod issuers;
mod layers;
pub mod mcp;
pub mod memory;
pub mod models;
pub mod nats;
pub mod outbound;
pub mod pod;
pub mod process;
pub mod python;
pub mod qdrant;
mod reader;
pub mod redis;
mod resolved;
pub mod secret;
mod secret_headers;
pub mod setting;
pub mod settings;
mod settings_hash;
pub mod source;
pub mod source_location;
pub mod store;
mod store_url;
mod unexpanded;
pub mod users;
pub mod wasm;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use greenroom_protocol::{PodId, UserId};

pub use admission::AdmissionConfig;
pub use artifacts::ArtifactsConfig;
pub use cluster::ClusterConfig;
pub use greenroom_registry::SyncMode;
pub use http::HttpConfig;
pub use issuers::{ClaimNames, IssuerConfig, IssuerKeyConfig, TokenAlgorithm};
pub use mcp::{McpAddress, McpConfig, McpServerConfig};
pub use memory::{EmbedderKind, EmbeddingConfig, MemoryConfig};
pub use models::{ModelsConfig, ProviderConfig};
pub use nats::{NatsAuth, NatsConfig, NatsTls};
pub use outbound::{HttpApiConfig, HttpHostConfig, OutboundConfig};
pub use python::PythonConfig;
pub use qdrant::QdrantConfig;
pub use redis::RedisConfig;
pub use secret::Secret;
pub use settings_hash::SettingsHash;
pub use source::{Flags, LoadedConfig, ResolvedSetting};
pub use source_location::{BucketLocation, SourceLocation};
pub use store::StoreConfig;
pub use users::{TenantConfig, UserConfig, UserDirectory};
pub use wasm::WasmConfig;

use crate::data_dir::CONTROL_SOCKET;

/// Every problem of the configuration, of every layer.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl From<ConfigError> for greenroom_protocol::Cause {
    fn from(error: ConfigError) -> Self {
        Self::new(greenroom_protocol::ErrorCode::InvalidConfiguration, error.to_string())
    }
}

/// The configuration of one process.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory that one process owns.
    pub data_dir: PathBuf,
    /// The directory of the control socket if its path in the data directory is too long.
    pub runtime_dir: PathBuf,
    /// The name of this pod, for replies. Its id for what it stores is that of this start ([`PodId::for_start`]).
    pub pod: PodId,
    /// The labels of this pod, by which agents are placed.
    pub labels: Vec<String>,
    /// The source of definitions instead of the embedded catalogue; it is watched.
    pub definitions: Option<SourceLocation>,
    /// True if an invalid definition refuses a start or a reload, instead of being quarantined.
    pub strict: bool,
    /// The source of a policy bundle instead of the embedded one; it is watched.
    pub policy: Option<SourceLocation>,
    /// Directories from which handlers may read paths given in inputs.
    pub files_roots: Vec<PathBuf>,
    /// The handlers in Python.
    pub python: PythonConfig,
    /// Where state is stored.
    pub store: StoreConfig,
    /// The key that signs the audit; `None` for that of a file in the data directory.
    pub audit_key: Option<Secret>,
    /// Where contexts are shown and requests are counted for several pods; `None` does both in this process.
    pub redis: Option<RedisConfig>,
    /// Where the memories of agents are; `None` for the database.
    pub qdrant: Option<QdrantConfig>,
    /// What computes the vectors of memories, and the bounds of these.
    pub memory: MemoryConfig,
    /// Where requests arrive over the network; `None` if they do not.
    pub nats: Option<NatsConfig>,
    /// Which pods belong together.
    pub cluster: ClusterConfig,
    /// Where artifacts are stored.
    pub artifacts: ArtifactsConfig,
    /// Bounds on requests in flight.
    pub admission: AdmissionConfig,
    /// How long a run only waits, for people or for a late retry, until it leaves this pod, if pods share the store.
    pub park_delay: Duration,
    /// Workers of the guard; 0 means one for each core.
    pub guard_workers: usize,
    /// The WebAssembly components; `None` if the pod has none.
    pub wasm: Option<WasmConfig>,
    /// Model providers.
    pub models: ModelsConfig,
    /// Servers whose tools agents may use.
    pub mcp: McpConfig,
    /// The services that agents are executed by, and the APIs whose operations are tools.
    pub outbound: OutboundConfig,
    /// Where HTTP is served; `None` serves it nowhere.
    pub http: Option<HttpConfig>,
    /// Where `/metrics` is served while `up` runs; `None` serves it nowhere.
    pub metrics: Option<SocketAddr>,
    /// Which log lines are written, as `tracing` directives.
    pub log_filter: String,
    /// Longest wait of a shutdown for requests in flight.
    pub drain_timeout: Duration,
    /// Users and tenants.
    pub users: UserDirectory,
    /// The identity providers whose tokens are accepted.
    pub issuers: Vec<IssuerConfig>,
    /// The user that the command line authenticates as.
    pub user: UserId,
    /// The settings file, absolute; its users and tenants are read again when it changes. `None` if there is none.
    pub settings_file: Option<PathBuf>,
    /// The hashes of the settings of the pod as they were loaded, for a comparison with those of another process.
    pub settings_hash: SettingsHash,
}

impl Config {
    /// The directory of artifacts that are in no bucket.
    #[must_use]
    pub fn artifacts_dir(&self) -> PathBuf {
        self.data_dir.join("artifacts")
    }

    /// The directory of compiled policy modules and components.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.data_dir.join("cache")
    }

    /// The control socket of the owner of the data directory, or the link to it.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.data_dir.join(CONTROL_SOCKET)
    }

    /// The file of the key that signs the head of the audit. It is deliberately not in the database.
    #[must_use]
    pub fn audit_key_file(&self) -> PathBuf {
        self.data_dir.join("audit.key")
    }

    /// The newest signed head of the audit.
    #[must_use]
    pub fn audit_head(&self) -> PathBuf {
        self.audit_key_file().with_extension("head")
    }
}

#[cfg(test)]
mod tests;
