//! The crate from outside: the shipped catalogue, the client's own files, hostile files, crowds.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod bounds;
mod client;
mod folder;
mod hostile;
mod many;
mod problems;
mod shipped;
