//! ractor's supervision event, as this crate reads it. Every supervisor overrides ractor's default handler, which
//! stops a supervisor when any child ends, even without an error.

use ractor::{ActorId, SupervisionEvent};

/// The kind of exit of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitKind {
    /// It stopped by itself or on request.
    Stopped,
    /// It was killed.
    Killed,
    /// It panicked, or its handler returned an error.
    Crashed,
    /// It stalled, and was killed or abandoned.
    Stalled,
}

/// An event of a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChildEvent {
    /// A child has started.
    Started(ActorId),
    /// A child has ended.
    Ended {
        /// The child.
        child: ActorId,
        /// The kind of exit.
        exit: ExitKind,
        /// The reason, for the log.
        reason: String,
    },
    /// An event that does not concern a supervisor.
    Other,
}

/// The reason that ractor gives for a kill.
const KILLED: &str = "killed";
/// The reason that ractor gives for a task that its runtime dropped.
const CANCELLED: &str = "actor_task_cancelled";

impl ChildEvent {
    /// Converts an event. The state of a stopped or killed child is part of the event and is dropped here, which
    /// aborts its linked tasks.
    #[must_use]
    pub fn from_event(event: SupervisionEvent) -> Self {
        match event {
            SupervisionEvent::ActorStarted(cell) => Self::Started(cell.get_id()),
            SupervisionEvent::ActorTerminated(cell, state, reason) => {
                drop(state);
                let reason = reason.unwrap_or_default();
                let exit = if reason == KILLED || reason == CANCELLED { ExitKind::Killed } else { ExitKind::Stopped };
                Self::Ended { child: cell.get_id(), exit, reason }
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                Self::Ended { child: cell.get_id(), exit: ExitKind::Crashed, reason: error.to_string() }
            }
            SupervisionEvent::ProcessGroupChanged(_) | SupervisionEvent::PidLifecycleEvent(_) => Self::Other,
        }
    }
}
