//! Teams: members that are seated by the team itself, around one shared context, while one run lasts.
//!
//! ```text
//! Teams                   the supervisor of all teams of this pod; `Teams` is also the cheap handle
//! └── Team                one for each run of a team
//!     ├── Context         what it shares
//!     └── members         a supervisor of its own, with the members that work
//! ```
//!
//! A team begins its run at the door, as itself, under the id of the request that formed it. What does
//! not live here: what the run does, and how a member works.

mod actor;
mod setup;
mod supervisor;
#[cfg(test)]
pub(crate) mod tests;

pub use actor::TeamInfo;
pub use supervisor::{TeamSupervisor, TeamSupervisorInfo, TeamsHandle};
