//! The whole platform under test: what tests and benchmarks share. Nothing here is part of the product.

/// What is tested and measured is what `greenroom` itself runs on: docs/adr/0019.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod bench;
pub mod crash_injection;
pub mod definitions_dir;
pub mod fuzz;
pub mod model_fixture;
pub mod script_server;
pub mod terminal;
pub mod test_pod;
pub mod wait;
