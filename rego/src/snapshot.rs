//! A policy in force: compiled, verified and tried, and immutable from then on.
//!
//! A new bundle becomes a new snapshot, which every shard takes over after the trial; policy, data
//! and revision can therefore never be of two ages. A bundle that fails any step leaves the old
//! snapshot where it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use greenroom_protocol::{Cause, ContentHash, ErrorCode, Json};
use wasmtime::{Cache, CacheConfig, Config, InstanceAllocationStrategy, Module, PoolingAllocationConfig};

use crate::access_request::Action;
use crate::access_request::read_set::PolicyReadSet;
use crate::bundle::Bundle;

mod validation;

/// Instances that may live at once: every shard's, those that replace them, and the trial's.
const INSTANCES_MAX: u32 = 256;

/// Where compiled modules are kept for the next start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheDir {
    /// Nowhere: every start compiles.
    Off,
    /// In this directory, which is made if it is missing and which only the owner should be able to
    /// write: what lies in it is machine code.
    At(PathBuf),
}

/// Why a bundle does not become the policy in force.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The engine, or its cache, cannot be set up.
    #[error("the policy engine cannot be set up: {0}")]
    Setup(String),
    /// The module does not compile.
    #[error("policy.wasm does not compile: {0}")]
    Compile(String),
    /// The module compiles but makes no instance.
    #[error("policy.wasm cannot be instantiated: {0}")]
    Instantiate(String),
    /// An entrypoint is missing.
    #[error("the policy has no entrypoint `{entrypoint}`, only {found:?}")]
    Entrypoint {
        /// Which.
        entrypoint: &'static str,
        /// Those that it has.
        found: Vec<String>,
    },
    /// The policy needs functions that the host would have to provide.
    #[error("the policy uses built-ins that are not native to WebAssembly: {}", names.join(", "))]
    Builtins {
        /// Which.
        names: Vec<String>,
    },
    /// The list of checks is not one.
    #[error("`guard/checks` of the policy cannot be read: {0}")]
    Checks(String),
    /// The trial evaluation failed.
    #[error("the policy fails its trial: {0}")]
    Validation(String),
}

impl From<SnapshotError> for Cause {
    fn from(error: SnapshotError) -> Self {
        Self::new(ErrorCode::InvalidPolicy, error.to_string())
    }
}

/// Compiles modules, all with the same settings. One serves the whole process.
#[derive(Clone)]
pub struct Compiler {
    engine: wasmtime::Engine,
    cache: Option<Cache>,
}

impl Compiler {
    /// A compiler that keeps what it has compiled there.
    ///
    /// # Errors
    /// [`SnapshotError::Setup`] if the directory cannot be used.
    pub fn new(cache: &CacheDir) -> Result<Self, SnapshotError> {
        let setup = |error: wasmtime::Error| SnapshotError::Setup(format!("{error:#}"));
        let mut config = Config::new();
        config.consume_fuel(true);
        // A fault says what happened; in which function of the module helps nobody.
        config.wasm_backtrace_max_frames(None);
        // Stacks of evaluations come from a pool: mapping one anew costs as much as the decision.
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(INSTANCES_MAX)
            .total_stacks(INSTANCES_MAX)
            .total_memories(INSTANCES_MAX)
            .total_tables(INSTANCES_MAX)
            .max_memory_size(crate::engine::MEMORY_BYTES_MAX);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let cache = match cache {
            CacheDir::Off => None,
            CacheDir::At(directory) => {
                let mut settings = CacheConfig::new();
                settings.with_directory(directory);
                Some(Cache::new(settings).map_err(setup)?)
            }
        };
        config.cache(cache.clone());
        Ok(Self { engine: wasmtime::Engine::new(&config).map_err(setup)?, cache })
    }

    /// Modules that were found compiled.
    #[must_use]
    pub fn cache_hits(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::cache_hits)
    }

    /// Modules that had to be compiled although there is a cache.
    #[must_use]
    pub fn cache_misses(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::cache_misses)
    }

    /// Compiles a bundle's module. This takes a tenth of a second of CPU, or a millisecond if it is
    /// found in the cache.
    ///
    /// # Errors
    /// [`SnapshotError::Compile`]
    pub fn compile(&self, bundle: &Bundle) -> Result<Compiled, SnapshotError> {
        let module =
            Module::new(&self.engine, bundle.wasm()).map_err(|error| SnapshotError::Compile(format!("{error:#}")))?;
        Ok(Compiled {
            module,
            data: bundle.data().clone(),
            revision: Arc::from(bundle.revision()),
            hash: *bundle.hash(),
        })
    }
}

/// A compiled bundle that nobody has tried yet.
pub struct Compiled {
    module: Module,
    data: Json,
    revision: Arc<str>,
    hash: ContentHash,
}

/// A policy in force.
pub struct PolicySnapshot {
    module: Module,
    data: Json,
    revision: Arc<str>,
    hash: ContentHash,
    checks: BTreeMap<Action, Arc<[Arc<str>]>>,
    read_set: PolicyReadSet,
}

impl PolicySnapshot {
    /// Verifies the entrypoints and built-ins of a compiled bundle, reads its checks, and evaluates
    /// once what must be denied and once a request that is well formed.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub async fn validate(compiled: Compiled) -> Result<Arc<Self>, SnapshotError> {
        let Compiled { module, data, revision, hash } = compiled;
        validation::builtins(&module)?;
        let untried =
            Self { module, data, revision, hash, checks: BTreeMap::new(), read_set: PolicyReadSet::default() };
        let mut instance = validation::instance(&untried).await?;
        let (checks, vocabulary) = validation::checks(&mut instance).await?;
        validation::empty_input_is_denied(&mut instance).await?;
        let snapshot = Arc::new(Self { checks, read_set: vocabulary, ..untried });
        validation::answers_agree(&snapshot).await?;
        Ok(snapshot)
    }

    /// Compiles and tries a bundle. The compilation blocks the thread, see [`Compiler::compile`].
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub async fn load(compiler: &Compiler, bundle: &Bundle) -> Result<Arc<Self>, SnapshotError> {
        Self::validate(compiler.compile(bundle)?).await
    }

    /// The revision, as replies and the audit name it.
    #[must_use]
    pub const fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    /// The hash of the bundle's bytes.
    #[must_use]
    pub const fn hash(&self) -> &ContentHash {
        &self.hash
    }

    /// The checks that an allowed action has passed.
    #[must_use]
    pub fn checks(&self, action: Action) -> Arc<[Arc<str>]> {
        self.checks.get(&action).cloned().unwrap_or_default()
    }

    /// The names that the policy says it reads.
    #[must_use]
    pub const fn read_set(&self) -> &PolicyReadSet {
        &self.read_set
    }

    pub(crate) const fn module(&self) -> &Module {
        &self.module
    }

    pub(crate) const fn data(&self) -> &Json {
        &self.data
    }
}
