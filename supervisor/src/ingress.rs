//! The ways in. Each turns what arrives into a `Received` and nothing else; what it means is decided
//! behind the gate.

pub mod control;
pub mod frame;
pub mod local;
