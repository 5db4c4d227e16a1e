//! The policy as the host meets it: the real bundle, through the real engine, by the public way in.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "all/harness.rs"]
mod harness;

#[path = "all/access_matrix.rs"]
mod access_matrix;
#[path = "all/bundles.rs"]
mod bundles;
#[path = "all/decisions.rs"]
mod decisions;
#[path = "all/definition_policies.rs"]
mod definition_policies;
#[path = "all/evaluation_errors.rs"]
mod evaluation_errors;
#[path = "all/fresh.rs"]
mod fresh;
#[path = "all/identity.rs"]
mod identity;
#[path = "all/mutations.rs"]
mod mutations;
#[path = "all/oracle.rs"]
mod oracle;
#[path = "all/permits.rs"]
mod permits;
#[path = "all/raw.rs"]
mod raw;
#[path = "all/sent.rs"]
mod sent;
#[path = "all/snapshots.rs"]
mod snapshots;
