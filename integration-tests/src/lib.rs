//! Fixtures and tools that the tests and benchmarks of the whole platform share; none is part of the product.

/// The allocator of `greenroom` itself, so that tests and benchmarks run on it too: docs/adr/0019.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod bench;
pub mod closed_loop;
pub mod cluster;
pub mod crash_injection;
pub mod definitions_dir;
pub mod delegations;
pub mod fuzz;
pub mod http_pod;
pub mod jetstream;
pub mod model_fixture;
pub mod nats_pod;
pub mod nats_server;
pub mod process_memory;
pub mod process_time;
pub mod redis_server;
pub mod root_actor;
pub mod runpod_api;
pub mod runpod_comparison;
pub mod runpod_jobs;
pub mod script_server;
pub mod server_port;
pub mod server_process;
pub mod session_pod;
pub mod shifted_clock;
pub mod store_hooks;
pub mod terminal;
pub mod test_pod;
pub mod up_process;
pub mod wait;
