//! Tests of the embedded bundle in the real engine, through the crate's public interface.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "all/harness.rs"]
mod harness;

#[path = "all/access_matrix.rs"]
mod access_matrix;
#[path = "all/bundles.rs"]
mod bundles;
#[path = "all/complete_text.rs"]
mod complete_text;
#[path = "all/decisions.rs"]
mod decisions;
#[path = "all/definition_policies.rs"]
mod definition_policies;
#[path = "all/derived_reads.rs"]
mod derived_reads;
#[path = "all/evaluation_errors.rs"]
mod evaluation_errors;
#[path = "all/generated_files.rs"]
mod generated_files;
#[path = "all/identity.rs"]
mod identity;
#[path = "all/mutations.rs"]
mod mutations;
#[path = "all/numbers.rs"]
mod numbers;
#[path = "all/oracle.rs"]
mod oracle;
#[path = "all/permits.rs"]
mod permits;
#[path = "all/pruned_input.rs"]
mod pruned_input;
#[path = "all/raw_module.rs"]
mod raw_module;
#[path = "all/snapshots.rs"]
mod snapshots;
