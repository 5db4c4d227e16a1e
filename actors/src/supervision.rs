//! What happens when something dies: one table, and the few mechanisms that carry it out.
//!
//! ```text
//! table      kind of child → rule
//! exit       ractor's event, read once → Exit
//! intensity  (rule, how it ended, now) → restart after, leave, give up       pure
//! slot       the bounded inbox that outlives its actor
//! roster     slots + seats + intensity: what categories and teams use
//! linked     work that lives and dies with its actor
//! ```
//!
//! What does not live here: any actor. A parent reads its children's ends through [`Exit::read`] and
//! acts on what [`Intensity`] says; nothing else in the crate decides about a restart.

pub mod child_event;
pub mod child_table;
pub mod intensity;
pub mod job_queue;
pub mod linked_tasks;
pub mod restart_policy;

pub use child_event::{ChildEvent, ExitKind};
pub use child_table::{ChildTable, SupervisorAction};
pub use intensity::{RestartDecision, RestartIntensity};
pub use job_queue::{JobQueue, PushError, Pushed, WakeMessage};
pub use linked_tasks::{LinkedTasks, TaskOutcome};
pub use restart_policy::{Backoff, ChildKind, OnMaxRestarts, RestartMode, RestartPolicy};

#[cfg(test)]
mod tests;
