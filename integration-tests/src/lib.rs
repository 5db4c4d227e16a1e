//! The whole platform under test: what tests and benchmarks share. Nothing here is part of the product.

/// What is tested and measured is what `greenroom` itself runs on: docs/adr/0019.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod bench;
pub mod faults;
pub mod fuzz;
pub mod house;
pub mod predicate;
pub mod script_server;
pub mod stagehand;
pub mod stand;
pub mod terminal;
