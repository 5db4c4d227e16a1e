//! Compiles the module of a bundle, with a cache of compiled modules on disk.

use std::path::PathBuf;
use std::sync::Arc;

use greenroom_protocol::{ContentHash, Json};
use wasmtime::{Cache, CacheConfig, Config, InstanceAllocationStrategy, Module, PoolingAllocationConfig};

use super::error::SnapshotError;
use super::reads::ReadsSource;
use super::trial::Verdicts;
use crate::bundle::Bundle;
use crate::instance::MEMORY_BYTES_MAX;

/// Maximum instances at once: those of all guard workers, their replacements, and those of validation.
const INSTANCES_MAX: u32 = 256;

/// Where compiled modules, and the results of trials, are cached for the next start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheDir {
    /// Nowhere: every start compiles.
    Off,
    /// In this directory, which is created if it is missing. Only the owner should be able to write
    /// it, because it holds machine code.
    At(PathBuf),
}

/// Compiles modules, all with the same settings. One compiler serves the whole process.
#[derive(Clone)]
pub struct Compiler {
    engine: wasmtime::Engine,
    cache: Option<Cache>,
    verdicts: Verdicts,
}

impl Compiler {
    /// Makes a compiler that caches compiled modules in the directory.
    ///
    /// # Errors
    /// [`SnapshotError::Setup`] if the directory cannot be used.
    pub fn new(cache: &CacheDir) -> Result<Self, SnapshotError> {
        let setup = |error: wasmtime::Error| SnapshotError::Setup(format!("{error:#}"));
        let mut config = Config::new();
        config.consume_fuel(true);
        // An evaluation error names what failed; the frames of a generated module add nothing to it.
        config.wasm_backtrace_max_frames(None);
        // Stacks of evaluations come from a pool: mapping a new one costs as much as the decision.
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(INSTANCES_MAX)
            .total_stacks(INSTANCES_MAX)
            .total_memories(INSTANCES_MAX)
            .total_tables(INSTANCES_MAX)
            .max_memory_size(MEMORY_BYTES_MAX);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let (cache, verdicts) = match cache {
            CacheDir::Off => (None, None),
            CacheDir::At(directory) => {
                let mut settings = CacheConfig::new();
                // The cache of modules removes every file that it does not know, so its directory is its own.
                settings.with_directory(directory.join("modules"));
                (Some(Cache::new(settings).map_err(setup)?), Some(directory.join("trials")))
            }
        };
        config.cache(cache.clone());
        let engine = wasmtime::Engine::new(&config).map_err(setup)?;
        Ok(Self { engine, cache, verdicts: Verdicts(verdicts) })
    }

    /// The number of modules that the cache held.
    #[must_use]
    pub fn cache_hits(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::cache_hits)
    }

    /// The number of modules that were compiled because the cache did not hold them.
    #[must_use]
    pub fn cache_misses(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::cache_misses)
    }

    /// Compiles a bundle's module, and reads its Rego text. This takes a tenth of a second of CPU, or a
    /// millisecond if the cache holds the module.
    ///
    /// # Errors
    /// [`SnapshotError::Compile`]
    pub fn compile(&self, bundle: &Bundle) -> Result<CompiledBundle, SnapshotError> {
        let module =
            Module::new(&self.engine, bundle.wasm()).map_err(|error| SnapshotError::Compile(format!("{error:#}")))?;
        Ok(CompiledBundle {
            module,
            data: bundle.data().clone(),
            revision: Arc::from(bundle.revision()),
            hash: *bundle.hash(),
            reads: ReadsSource::from_bundle(bundle),
            verdicts: self.verdicts.clone(),
        })
    }
}

/// A compiled bundle that has not been validated.
pub struct CompiledBundle {
    pub(super) module: Module,
    pub(super) data: Json,
    pub(super) revision: Arc<str>,
    pub(super) hash: ContentHash,
    pub(super) reads: ReadsSource,
    pub(super) verdicts: Verdicts,
}
