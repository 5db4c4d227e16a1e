//! The actors of agents, teams and runs, and their supervision.
//!
//! This crate contains the actors, the restart policies, the execution of one agent, the run machine, and the traits
//! through which models, native handlers, stores and the request pipeline are supplied. What does not live here:
//! HTTP, NATS, a concrete store, a concrete model, and the addresses of other pods.

pub mod agent;
pub mod category;
pub mod concurrency;
pub mod definition_resolver;
pub mod dispatcher;
pub mod execution;
pub mod failure;
pub mod guard;
pub mod handler;
pub mod json_text;
pub mod model;
pub mod observer;
pub mod pipeline;
pub mod remote;
pub mod run;
pub mod supervision;
pub mod team;
pub mod tool;

#[cfg(test)]
mod test_env;
