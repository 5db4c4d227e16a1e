//! Runs as actors, over stores in memory, behind a door that answers from a script.

mod basics;
mod crash;
pub(crate) mod harness;
mod signals;
mod steps;
