//! The runtime `wasm`: agents that are WebAssembly components, of the world `greenroom:agent` (`wasm/greenroom.wit`).
//!
//! ```text
//! components    name → file → compiled component        component_file   the folder
//! call          one execution: store, instance, end      call_error       end → cause
//! host_port     calls of a component → its execution     host_functions   the interface `host`
//! store_state   limits, and WASI without authority       output           what it prints
//! engine        settings of wasmtime                     epochs           when a component yields
//! memory_budget the memory of all executions             interface        types of the world
//! ```
//!
//! A component is not trusted. It is executed on the threads of tokio, in an instance of its own: fuel bounds what it
//! computes, epochs how long it keeps a thread, and limits what it allocates. Everything else it does is a call of its host,
//! which the guard decides.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_actors::execution::runtime::{ExecutionContext, Runtime};
use greenroom_definitions::Agent;
use greenroom_definitions::agent::RuntimeKind;
use greenroom_protocol::{Cause, ErrorCode, Values};

mod call;
mod call_error;
mod component_file;
mod components;
mod engine;
mod epochs;
mod host_functions;
mod host_port;
mod interface;
mod memory_budget;
mod output;
mod store_state;
#[cfg(any(test, feature = "testing"))]
pub mod test_components;
#[cfg(test)]
mod tests;

pub use component_file::COMPONENT_BYTES_MAX;
pub use epochs::EpochTicker;
pub use host_port::HOST_CALLS_MAX;

use component_file::unavailable;
use components::Components;
use epochs::Activity;
use host_port::Host;
use memory_budget::MemoryBudget;
use store_state::CallLimits;

/// Memory of one execution whose definition sets none, in MiB.
pub const MEMORY_MIB_DEFAULT: u32 = 64;
/// Memory of one execution that a definition can set, in MiB: the address space of a component.
pub const MEMORY_MIB_MAX: u32 = 4_096;
/// Fuel for each second of an agent's timeout. A core spends about as much in a second in the tightest loop, and up to
/// eight times as much in straight code: a component may compute for an eighth of its timeout at least.
pub const FUEL_PER_SECOND: u64 = 1_000_000_000;

/// Where components are, and what they may use together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WasmSettings {
    /// The folder of the components.
    pub components: PathBuf,
    /// The folder in which compiled components are cached, an absolute path; `None` compiles them after each start.
    pub cache: Option<PathBuf>,
    /// Memory of all executions together, in MiB.
    pub memory_mib: u32,
    /// Fuel for each second of an agent's timeout.
    pub fuel_per_second: u64,
}

/// Executes agents by WebAssembly components.
pub struct WasmRuntime {
    executor: Option<Executor>,
}

/// What executes components.
struct Executor {
    components: Arc<Components>,
    activity: Arc<Activity>,
    memory: MemoryBudget,
    fuel_per_second: u64,
}

impl WasmRuntime {
    /// A runtime without a folder of components: each call fails, and the cause names the setting.
    #[must_use]
    pub const fn without_components() -> Self {
        Self { executor: None }
    }

    /// Opens the runtime. The ticker must run on a thread of its own while components are executed.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if the cache cannot be used, or the process has too little address space.
    pub fn open(settings: WasmSettings) -> Result<(Self, EpochTicker), Cause> {
        let (executor, ticker) = Executor::open(settings)?;
        Ok((Self { executor: Some(executor) }, ticker))
    }
}

#[async_trait]
impl Runtime for WasmRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Wasm
    }

    async fn execute(&self, ctx: &ExecutionContext<'_>) -> Result<Values, Cause> {
        let Some(executor) = &self.executor else {
            return Err(unavailable(
                "this pod has no components: the setting `runtimes.wasm.components` names no folder",
            ));
        };
        let invocation = ctx.invocation();
        let (agent, invoke) = (&invocation.agent, &invocation.invoke);
        let outputs = executor.execute(agent, (&invoke.inputs, &invoke.context), ctx).await?;
        agent.validate_outputs(&invoke.inputs, outputs)
    }
}

impl Executor {
    fn open(settings: WasmSettings) -> Result<(Self, EpochTicker), Cause> {
        let WasmSettings { components, cache, memory_mib, fuel_per_second } = settings;
        let invalid = |error: wasmtime::Error| {
            let message = format!("components cannot be executed (`runtimes.wasm.components`): {error:#}");
            Cause::new(ErrorCode::InvalidConfiguration, message)
        };
        let cache = cache.as_deref().map(engine::open_cache).transpose().map_err(invalid)?;
        let engine = engine::new_engine(cache.clone()).map_err(invalid)?;
        let linker = engine::new_linker(&engine).map_err(invalid)?;
        let activity = Arc::<Activity>::default();
        let ticker = EpochTicker::new(engine.clone(), Arc::clone(&activity));
        let components = Arc::new(Components::new(components, engine, linker, cache));
        Ok((Self { components, activity, memory: MemoryBudget::new(memory_mib), fuel_per_second }, ticker))
    }

    /// Executes the component of an agent with these inputs and this context.
    async fn execute(
        &self,
        agent: &Agent,
        (inputs, context): (&Values, &Values),
        host: &dyn Host,
    ) -> Result<Values, Cause> {
        let name = agent.spec().implementation.handler.as_deref().unwrap_or_default();
        let component = self.components.get(name).await?;
        let limits = self.limits(agent);
        let _memory = self.memory.reserve(limits.memory_mib).await?;
        let parameters = (to_text(inputs)?, to_text(context)?);
        call::call(&component, (&self.activity, limits), parameters, host).await
    }

    fn limits(&self, agent: &Agent) -> CallLimits {
        let memory = agent.spec().implementation.memory;
        let memory_mib = memory.map_or(MEMORY_MIB_DEFAULT, |mib| u32::try_from(mib).unwrap_or(u32::MAX));
        let memory_mib = memory_mib.min(MEMORY_MIB_MAX);
        CallLimits { memory_mib, fuel: self.fuel_per_second.saturating_mul(agent.timeout().as_secs().max(1)) }
    }
}

fn to_text(values: &Values) -> Result<String, Cause> {
    serde_json::to_string(values).map_err(|error| Cause::new(ErrorCode::Internal, error.to_string()))
}
