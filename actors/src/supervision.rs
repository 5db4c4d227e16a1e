//! Supervision: one table of restart policies, and the mechanisms that apply it.
//!
//! ```text
//! restart_policy  kind of child → restart policy
//! child_event     ractor's event → ChildEvent
//! intensity       (policy, exit, now) → restart after, no restart, maximum exceeded; pure
//! job_queue       bounded queue that survives its actor
//! child_table     queues, actors and intensities of the children of one supervisor
//! child_driver    applies the actions of a child table: starts, kills, restarts
//! linked_tasks    tasks that stop with their actor
//! ```
//!
//! What does not live here: any actor. A supervisor reads the exits of its children through
//! [`ChildEvent::from_event`] and applies the decision of [`RestartIntensity`], with a [`ChildDriver`] if its children
//! have job queues; nothing else in the crate decides about a restart.

pub mod child_driver;
pub mod child_event;
pub mod child_table;
pub mod intensity;
pub mod job_queue;
pub mod linked_tasks;
pub mod restart_policy;

pub use child_driver::{ChildDriver, ChildMsg};
pub use child_event::{ChildEvent, ExitKind};
pub use child_table::{ChildTable, SupervisorAction};
pub use intensity::{RestartDecision, RestartIntensity};
pub use job_queue::{JobQueue, PushError, Pushed, WakeMessage};
pub use linked_tasks::{LinkedTasks, TaskOutcome};
pub use restart_policy::{Backoff, ChildKind, OnMaxRestarts, RestartMode, RestartPolicy};

#[cfg(test)]
mod tests;
