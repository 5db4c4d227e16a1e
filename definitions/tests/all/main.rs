//! The crate from outside: the shipped catalogue, the client's own files, hostile files, large catalogues.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bounds;
mod capabilities;
mod client;
mod folder;
mod hostile;
mod many;
mod page;
mod problems;
mod shipped;
mod workflows;
