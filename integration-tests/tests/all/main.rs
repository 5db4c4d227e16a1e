//! Every test of the whole platform, in one binary: linking a house takes longer than running it.
//!
//! A module a subject. What a test needs to stand on (a house, a scripted model, a bounded wait)
//! lives in the library of this crate, so that benchmarks stand on it too.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, and so may what it calls"
)]

mod bad_input;
mod budget;
mod commands;
mod control;
mod crash;
mod crash_injection;
mod demo;
mod disk_failures;
mod edges;
mod fuzz;
mod licences;
mod manifests;
mod memory;
mod metadata;
mod overload;
mod pinning;
mod provider_apis;
mod providers;
mod reload;
mod retries;
mod sealed_types;
mod secrets;
mod shutdown;
mod tidy;
mod users;
