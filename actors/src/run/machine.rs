//! The run machine: what a run does next, decided without touching anything.
//!
//! ```text
//!            Event ─▶ decide(&state, plan, event, now) ─▶ Decision { entries, effects }
//!                                                             │ journal.append(entries)
//!            State ◀─ apply(at, entry), the only writer ◀─────┤ Receipt
//!                                                             ▼ Decision::release(&receipt)
//!            Event ◀─ linked tasks, timers, people ◀──────  Effects
//! ```
//!
//! The state of a run is the fold of its journal, so a process that died is made good by reading:
//! [`Event::Resumed`] asks again for what was in flight, under the same keys. Values are not
//! computed here: conditions, items and questions are weighed by an effect, and so are the final
//! outputs, since they may lie in the artifact store and cost time. One verb a file.
//!
//! What a skipped step means: a step that *refers* to it is skipped too, since it would have nothing
//! to work with; one that only waits for it (`depends_on`) goes on. The run's outputs leave out what a
//! skipped step would have given.

mod apply;
mod approval;
mod cancel;
mod compensate;
mod completion;
mod decide;
mod effect;
mod event;
mod for_each;
mod resume;
mod retry;
mod scheduling;
mod state;
#[cfg(test)]
mod tests;

pub use approval::answerable;
pub(crate) use completion::refused;
pub use decide::{Decision, decide};
pub use effect::{CallTarget, Effect, TimerId};
pub use event::{CallResult, Event, StepEvaluation};
pub(crate) use resume::deadline_after_pause;
pub use state::{Items, Phase, State, StepState, StepStatus};

/// Calls of one run at one time; more steps than this wait for a place.
pub const RUN_CALLS_MAX: u32 = 1_000;
/// Attempts to undo one step.
pub const COMPENSATION_ATTEMPTS_MAX: u32 = 3;
/// How long the undoing of a run may take altogether, counted from its beginning or resumption.
pub const COMPENSATION_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(120);
/// Retries that all steps of one run have together, so that nested retries cannot multiply.
pub const RUN_RETRIES_MAX: u32 = 64;
