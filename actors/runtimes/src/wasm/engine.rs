//! The engine that compiles and executes components, and what each component may import.

use std::path::Path;

use wasmtime::component::Linker;
use wasmtime::{Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::host_functions;
use super::store_state::{CORE_INSTANCES_MAX, MEMORIES_MAX, StoreState, TABLE_ELEMENTS_MAX, TABLES_MAX};

/// Components that are executed at once.
pub(super) const INSTANCES_MAX: u32 = 256;
/// Bytes that the engine needs for the functions and globals of one component.
const INSTANCE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a memory that remain resident for the next execution, which is cheaper than to map them again.
const RESIDENT_BYTES: usize = 64 * 1024;

/// Opens the cache of compiled components in a folder, which contains machine code: only its owner should be able to write
/// it. The cache removes every file that it does not know.
///
/// # Errors
/// If the folder cannot be used.
pub(super) fn open_cache(directory: &Path) -> wasmtime::Result<Cache> {
    let mut settings = CacheConfig::new();
    settings.with_directory(directory);
    Cache::new(settings)
}

/// Creates the engine.
///
/// # Errors
/// If the address space has no room for the pool of memories.
pub(super) fn new_engine(cache: Option<Cache>) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.consume_fuel(true).epoch_interruption(true);
    // A component has a memory of at most 4 GiB, which the pool has reserved, so that no access needs a check.
    config.wasm_memory64(false);
    // The frames of a component are no text for users.
    config.wasm_backtrace_max_frames(None);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    config.cache(cache);
    Engine::new(&config)
}

/// Memories, tables and stacks are reserved in advance: to map them costs more than a short execution.
fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * CORE_INSTANCES_MAX)
        .total_memories(INSTANCES_MAX)
        .total_tables(INSTANCES_MAX * 2)
        .total_stacks(INSTANCES_MAX)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .linear_memory_keep_resident(RESIDENT_BYTES)
        .table_keep_resident(RESIDENT_BYTES);
    pool
}

/// What components may import: the interface `host`, and WASI 0.2.
///
/// # Errors
/// If a name is defined twice.
pub(super) fn new_linker(engine: &Engine) -> wasmtime::Result<Linker<StoreState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    host_functions::define(&mut linker)?;
    Ok(linker)
}
