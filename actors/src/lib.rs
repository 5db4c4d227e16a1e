//! What agents, teams, contexts and runs do, and who supervises them.
//!
//! Here live the actors, the restart table, the execution of one agent, the run machine, and the
//! seams through which models, native handlers, stores and the way back into the pipeline are
//! handed in. What does not live here: HTTP of any kind, NATS, a concrete store, a concrete model,
//! and the knowledge of where another pod is.

pub mod agent;
pub mod category;
pub mod concurrency;
pub mod context;
pub mod definition_resolver;
pub mod dispatcher;
pub mod execution;
pub mod failure;
pub mod guard;
pub mod handler;
pub mod model;
pub mod observer;
pub mod pipeline;
pub mod run;
pub mod supervision;
pub mod team;
pub mod tool;

#[cfg(test)]
mod test_env;
