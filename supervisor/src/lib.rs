//! The process: configuration, ingress, pipeline, root of the tree, lifecycle; the binary greenroom.
//!
//! `cli` → `compose` builds the house → `ingress` lets requests in → `pipeline` takes each through
//! its stages. This crate knows every other one and is known by none; what an agent does, what policy
//! says and where anything is stored is theirs.

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "a test spawns what it awaits"))]

pub mod admin;
pub mod cached_definitions;
pub mod cli;
pub mod clock;
pub mod compose;
pub mod config;
pub mod data_dir;
pub mod identity;
pub mod ingress;
pub mod lifecycle;
pub mod pipeline;
pub mod pod;
pub mod reload;
pub mod tasks;
pub mod telemetry;
