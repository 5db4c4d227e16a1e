//! What agents, teams, contexts and runs do, and who supervises them.
//!
//! Here live the actors, the restart table, the execution of one agent, the run machine, and the
//! seams through which models, native handlers, stores and the way back into the pipeline are
//! handed in. What does not live here: HTTP of any kind, NATS, a concrete store, a concrete model,
//! and the knowledge of where another pod is.

pub mod admission;
pub mod agent;
pub mod category;
pub mod context;
pub mod door;
pub mod execution;
pub mod failure;
pub mod guard;
pub mod handler;
pub mod library;
pub mod model;
pub mod observe;
pub mod run;
pub mod stage;
pub mod supervision;
pub mod team;
pub mod tool;

#[cfg(test)]
mod rig;
