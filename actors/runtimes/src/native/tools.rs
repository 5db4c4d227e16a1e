//! The native tools.

pub(crate) mod calculator;
