//! Teams: members with actors of their own, for the duration of one run. The shared context belongs to the run.
//!
//! ```text
//! TeamSupervisor          supervises all teams of this pod; `TeamsHandle` is its handle
//! └── TeamActor           one for each run of a team
//!     └── members         a category supervisor with the active members
//! ```
//!
//! A team starts its run through the pipeline, as itself, under the id of the request that formed it. The work of
//! the run is in `run`, the execution of a member in `execution`.

mod actor;
mod handle;
mod message;
mod setup;
mod supervisor;
#[cfg(test)]
pub(crate) mod tests;

pub use handle::TeamsHandle;
pub use message::{TeamInfo, TeamSupervisorInfo};
