//! The state of the store of one execution: its port to the host, its limits, and a WASI without authority.
//!
//! A component has clocks and random numbers. It has no arguments, no environment, no folder and no network, and its input
//! is closed.

use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::host_port::HostPort;
use super::output::Output;

/// Core instances of one component. A component of Python has about twenty.
pub(super) const CORE_INSTANCES_MAX: u32 = 64;
/// Memories of one component.
pub(super) const MEMORIES_MAX: u32 = 4;
/// Tables of one component.
pub(super) const TABLES_MAX: u32 = 8;
/// Elements of one table. A component of Python has about 6,000.
pub(super) const TABLE_ELEMENTS_MAX: usize = 20_000;
/// Resources of WASI, such as streams and timers, that one execution has at once.
const RESOURCES_MAX: usize = 1_024;
/// Bytes of random numbers that one call returns.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// What one execution may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallLimits {
    /// Memory in MiB.
    pub(super) memory_mib: u32,
    /// Instructions, about.
    pub(super) fuel: u64,
}

/// The state of one store.
pub(super) struct StoreState {
    pub(super) port: HostPort,
    pub(super) limits: InstanceLimits,
    wasi: WasiCtx,
    resources: ResourceTable,
}

impl StoreState {
    /// The state of an execution within these limits, which writes to these outputs.
    pub(super) fn new(port: HostPort, limits: CallLimits, stdout: &Output, stderr: &Output) -> Self {
        let mut builder = WasiCtx::builder();
        builder.stdout(stdout.clone()).stderr(stderr.clone());
        builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        builder.max_random_size(RANDOM_BYTES_MAX);
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(RESOURCES_MAX);
        let memory_bytes_max = (limits.memory_mib as usize).saturating_mul(1024 * 1024);
        let limits = InstanceLimits { memory_bytes_max, memory_bytes: 0, denial: None };
        Self { port, limits, wasi: builder.build(), resources }
    }
}

impl WasiView for StoreState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

/// A limit that a component has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstanceLimit {
    /// The bytes of its memories together.
    Memory,
    /// The elements of one of its tables.
    Table,
}

/// The limits of one execution. Growth beyond one fails, as the component sees: it may continue with less.
#[derive(Debug)]
pub(super) struct InstanceLimits {
    memory_bytes_max: usize,
    memory_bytes: usize,
    /// The last limit that has denied a growth.
    pub(super) denial: Option<InstanceLimit>,
}

impl ResourceLimiter for InstanceLimits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_sub(current).saturating_add(desired);
        if total > self.memory_bytes_max {
            self.denial = Some(InstanceLimit::Memory);
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let is_allowed = desired <= TABLE_ELEMENTS_MAX;
        if !is_allowed {
            self.denial = Some(InstanceLimit::Table);
        }
        Ok(is_allowed)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(memory_bytes_max: usize) -> InstanceLimits {
        InstanceLimits { memory_bytes_max, memory_bytes: 0, denial: None }
    }

    #[test]
    fn all_memories_of_an_execution_share_one_limit() {
        let mut limits = limits(3 << 16);
        assert!(limits.memory_growing(0, 1 << 16, None).unwrap());
        assert!(limits.memory_growing(0, 1 << 16, None).unwrap(), "a second memory");
        assert!(limits.memory_growing(1 << 16, 2 << 16, None).unwrap());
        assert_eq!(limits.denial, None);
        assert!(!limits.memory_growing(1 << 16, 2 << 16, None).unwrap());
        assert_eq!(limits.denial, Some(InstanceLimit::Memory));
    }

    #[test]
    fn a_table_has_a_limit_of_its_own() {
        let mut limits = limits(1 << 16);
        assert!(limits.table_growing(0, TABLE_ELEMENTS_MAX, None).unwrap());
        assert!(!limits.table_growing(0, TABLE_ELEMENTS_MAX + 1, None).unwrap());
        assert_eq!(limits.denial, Some(InstanceLimit::Table));
    }
}
