//! The guard actor and its engines.
//!
//! ```text
//! GuardKeeper              loads, tries and swaps policy; restarts its shards
//! └── GuardShard × cores   owns one engine and evaluates
//! ```
//!
//! [`GuardHandle`] is what the rest of the platform holds: it carries questions to the shards as an
//! [`Evaluator`](greenroom_rego::Evaluator), and can only carry back a verdict that an engine made.
//! The shards' inboxes and the policy in force lie outside the actors, so a keeper that dies and
//! comes back finds both as they were. What does not live here: what a policy says.

mod handle;
mod supervisor;
mod worker;

pub use handle::{GuardHandle, GuardInfo};
pub use supervisor::GuardSupervisor;

#[cfg(test)]
mod tests;
