//! Runs as actors, over in-memory stores and a scripted pipeline.

mod basics;
mod compensation;
mod context;
mod costs;
mod crash;
mod dead;
mod disconnected;
mod first_calls;
mod foreign_context;
pub(crate) mod harness;
mod keys;
mod loops;
mod outage;
mod parked;
mod placed_writes;
mod shared;
mod signals;
mod steps;
mod tool_approvals;
mod trees;
mod waiting;
mod waits;
