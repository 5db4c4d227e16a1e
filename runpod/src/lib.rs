//! Greenroom on RunPod Serverless: the queue worker, scaling by demand, and deployment.
//!
//! [`worker`] takes the jobs of a queue endpoint, [`scale`] starts workers for what waits elsewhere, and [`deploy`] creates
//! and changes endpoints. This crate knows the protocols of RunPod, the protocol of Greenroom and its client; pods,
//! policy and stores are elsewhere, and the command line connects them.

pub mod cost;
pub mod deploy;
mod http;
mod random;
pub mod scale;
pub mod secret;
pub mod worker;
