//! From the configuration to the runtime of WebAssembly components. Their folder is read when an agent is called.

use greenroom_protocol::Cause;
use greenroom_runtimes::wasm::{EpochTicker, FUEL_PER_SECOND, WasmRuntime, WasmSettings};

use super::blocking::run_blocking;
use crate::config::{Config, StoreConfig, WasmConfig};

/// Opens the runtime, which has no components if none are configured; then there is no ticker either.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::InvalidConfiguration`] if the folder of compiled components cannot be used.
pub(crate) async fn open(config: &Config) -> Result<(WasmRuntime, Option<EpochTicker>), Cause> {
    let Some(WasmConfig { components, memory_mib }) = config.wasm.clone() else {
        return Ok((WasmRuntime::without_components(), None));
    };
    let cache = match config.store {
        StoreConfig::Memory | StoreConfig::Unsupported { .. } => None,
        // The cache removes every file that it does not know, so its directory is its own.
        StoreConfig::Sqlite { .. } | StoreConfig::Postgres { .. } => Some(config.cache_dir().join("components")),
    };
    let settings = WasmSettings { components, cache, memory_mib, fuel_per_second: FUEL_PER_SECOND };
    let (runtime, ticker) = run_blocking(move || WasmRuntime::open(settings)).await??;
    Ok((runtime, Some(ticker)))
}
