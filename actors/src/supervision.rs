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

pub mod exit;
pub mod intensity;
pub mod linked;
pub mod roster;
pub mod slot;
pub mod table;

pub use exit::{Exit, How};
pub use intensity::{Intensity, Next};
pub use linked::{Ended, LinkedTasks};
pub use roster::{Change, Roster};
pub use slot::{Pushed, Refused, Slot, Wakes};
pub use table::{Backoff, ChildKind, GiveUp, Restart, Rule};

#[cfg(test)]
mod tests;
