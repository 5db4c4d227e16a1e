//! ractor's supervision event, read once. Every parent of this crate reads its children's ends here,
//! because ractor's default handler stops a parent when any child ends, even cleanly.

use ractor::{ActorId, SupervisionEvent};

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitKind {
    /// It stopped by itself or was asked to.
    Stopped,
    /// It was killed from outside.
    Killed,
    /// It panicked, or its handler answered an error.
    Crashed,
    /// It did not take its work, and was killed or left behind for that.
    Stalled,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChildEvent {
    /// A child began.
    Started(ActorId),
    /// A child ended.
    Ended {
        /// Which one.
        child: ActorId,
        /// How.
        exit: ExitKind,
        /// In its own words, for the log.
        reason: String,
    },
    /// Nothing that concerns a parent.
    Other,
}

/// ractor's word for a kill, as its runtime writes it into the reason.
const KILLED: &str = "killed";
/// ractor's word for a task that its runtime dropped.
const CANCELLED: &str = "actor_task_cancelled";

impl ChildEvent {
    /// Reads an event. The dead child's state, which a killed or stopped one still sends along, is
    /// dropped here, which aborts the work that was linked to it.
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
