//! What is between a client of the platform and other protocols: HTTP, MCP, and RunPod Serverless.
//!
//! [`bridge`] reads requests of HTTP, sends them through [`greenroom_client`], and writes replies, problems and streams of
//! events. [`mcp`] offers agents and workflows as tools. [`worker`] takes the jobs of a queue endpoint of RunPod, [`scale`] starts workers for what waits elsewhere, and
//! [`deploy`] creates and changes endpoints. This crate knows no actor, policy or store, and no way by which the client
//! sends: the process that has a bridge or a worker provides the client.
#![deny(missing_docs)]

pub mod bridge;
pub mod cost;
pub mod deploy;
mod http;
pub mod mcp;
mod random;
pub mod scale;
pub mod secret;
pub mod worker;
