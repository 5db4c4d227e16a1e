//! Runs as actors, over in-memory stores and a scripted pipeline.

mod basics;
mod crash;
pub(crate) mod harness;
mod signals;
mod steps;
mod trees;
