//! Runs as actors, over in-memory stores and a scripted pipeline.

mod basics;
mod compensation;
mod context;
mod costs;
mod crash;
pub(crate) mod harness;
mod keys;
mod loops;
mod outage;
mod shared;
mod signals;
mod steps;
mod trees;
mod waiting;
mod waits;
