//! The process: configuration, ingress, pipeline, root of the tree, lifecycle; the binary greenroom.
//!
//! `cli` parses a command → `compose` assembles the pod → `ingress` accepts requests → `pipeline` runs
//! each through its stages. This crate depends on every other crate, and no other crate depends on it.
//! Agents, policy and stores are implemented in the others.

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "a test spawns what it awaits"))]

pub mod admin;
mod apply;
pub mod cached_definitions;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod compose;
pub mod config;
pub mod data_dir;
mod generations;
pub mod identity;
pub mod ingress;
pub mod lifecycle;
pub mod pipeline;
pub mod pod;
pub mod readiness;
pub mod reload;
pub mod services;
mod sources;
pub mod telemetry;
