//! The guard actor and its engines.
//!
//! ```text
//! GuardSupervisor        validates and activates policies; restarts its workers
//! └── GuardWorker × cores  owns one engine and evaluates
//! ```
//!
//! The rest of the platform uses [`GuardHandle`], an [`Evaluator`](greenroom_rego::Evaluator) that sends access
//! requests to the workers and returns only decisions that an engine made. The job queues and the active policy are
//! stored outside the actors, so a restarted supervisor finds both unchanged. What does not live here: the content of
//! a policy.

mod handle;
mod load_error;
mod message;
mod supervisor;
mod validation;
mod worker;

pub use handle::{GuardHandle, GuardInfo};
pub use load_error::LoadError;

#[cfg(test)]
mod tests;
