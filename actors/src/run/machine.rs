//! The run machine: decides the next entries and effects of a run without side effects.
//!
//! ```text
//!            Event ─▶ decide(&state, plan, event, now) ─▶ Decision { entries, effects }
//!                                                             │ journal.append(entries)
//!            State ◀─ apply(at, entry), the only writer ◀─────┤ Receipt
//!                                                             ▼ Decision::release(&receipt)
//!            Event ◀─ linked tasks, timers, users ◀───────  Effects
//! ```
//!
//! The state of a run is the fold of its journal, so recovery replays the journal: [`Event::Resumed`] repeats the
//! effects that were in flight, under the same keys. Values are not computed here: an effect evaluates conditions,
//! items and approval prompts, and collects the outputs, because values may be in the artifact store and take time to
//! load. One verb per file.
//!
//! A step is skipped too if every step to which its inputs refer was skipped, or if it needs a value of a skipped step
//! (`greenroom_definitions::needs`); a step that only depends on it (`depends_on`) starts. The run's outputs leave out
//! the results of skipped steps.
//!
//! The time of a run passes only while it works: [`State::is_paused`] says when it waits for people or events.
//!
//! An agent whose tools need an approval ends its execution with what it needs to continue. Its step waits for the
//! decisions in the journal, as a step with `approval` does, and starts again with them (`suspended`).
//!
//! A run ends after the runs that its steps have called. If a call ends without a result, its run is ended and may
//! compensate; [`State::has_unneeded_runs`] says so, and then [`Effect::EndInnerRuns`] is before the end of a run that
//! fails, and a part of [`Effect::CollectOutputs`] for one that succeeds.

mod activity;
mod apply;
mod approval;
mod cancel;
mod compensate;
mod completion;
mod counts;
mod decide;
mod effect;
mod event;
mod for_each;
mod received_events;
mod resume;
mod retry;
mod scheduling;
mod state;
mod step_status;
mod suspended;
mod suspension;
#[cfg(test)]
mod tests;
mod wait;

pub use approval::require_awaiting_approval;
pub(crate) use completion::terminated_reply;
pub use counts::CallWaits;
pub use decide::{Decision, decide};
pub use effect::{CallTarget, Effect, TimerId};
pub use event::{CallResult, Event, StepEvaluation, ToolResolution};
pub(crate) use resume::deadline_after_pause;
pub use state::{Items, Phase, State, StepState, StepStatus};
pub use suspension::Suspension;
pub use wait::require_event_capacity;

/// Concurrent calls of one run; further steps wait.
pub const RUN_CALLS_MAX: u32 = 1_000;
/// Attempts to compensate one step.
pub const COMPENSATION_ATTEMPTS_MAX: u32 = 3;
/// Retries that all steps of one run share, so that nested retries cannot multiply.
pub const RUN_RETRIES_MAX: u32 = 64;
