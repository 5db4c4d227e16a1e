//! The crate from outside: the shipped catalogue, the client's own files, hostile files, large catalogues.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bounds;
mod capabilities;
mod categories;
mod category_defaults;
mod client;
mod conventions;
mod editors;
mod expectations;
mod file_set;
mod folder;
mod hostile;
mod many;
mod numbers;
mod one_go;
mod page;
mod placement;
mod problems;
mod quarantine;
mod samples;
mod shipped;
mod shipped_quality;
mod shipped_teamwork;
mod tool_approvals;
mod types;
mod unused;
mod workflows;
