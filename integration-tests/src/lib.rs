//! The whole platform under test: what tests and benchmarks share. Nothing here is part of the product.

pub mod bench;
pub mod faults;
pub mod fuzz;
pub mod house;
pub mod predicate;
pub mod script_server;
pub mod stagehand;
pub mod stand;
pub mod terminal;
