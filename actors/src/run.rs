//! Runs.
pub mod machine;
