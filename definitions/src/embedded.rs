//! The catalogue that is in the binary: every YAML file of this crate's folders, by its name.
//!
//! The list is written by `UPDATE=1 cargo test -p greenroom-definitions`, and a test compares it with
//! the folders, so a new definition cannot be forgotten.

/// Each file's name, relative to the crate, and its text.
pub const FILES: &[(&str, &str)] = &[
];
