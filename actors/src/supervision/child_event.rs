//! ractor's supervision event, read once. Every parent of this crate reads its children's ends here,
//! because ractor's default handler stops a parent when any child ends, even cleanly.

use ractor::{ActorId, SupervisionEvent};

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It stopped by itself or was asked to.
    Stopped,
    /// It was killed from outside.
    Killed,
    /// It panicked, or its handler answered an error.
    Crashed,
    /// It did not take its work, and was killed or left behind for that.
    Frozen,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// A child began.
    Started(ActorId),
    /// A child ended.
    Ended {
        /// Which one.
        who: ActorId,
        /// How.
        how: How,
        /// In its own words, for the log.
        why: String,
    },
    /// Nothing that concerns a parent.
    Other,
}

/// ractor's word for a kill, as its runtime writes it into the reason.
const KILLED: &str = "killed";
/// ractor's word for a task that its runtime dropped.
const CANCELLED: &str = "actor_task_cancelled";

impl Exit {
    /// Reads an event. The dead child's state, which a killed or stopped one still sends along, is
    /// dropped here, which aborts the work that was linked to it.
    #[must_use]
    pub fn read(event: SupervisionEvent) -> Self {
        match event {
            SupervisionEvent::ActorStarted(cell) => Self::Started(cell.get_id()),
            SupervisionEvent::ActorTerminated(cell, state, reason) => {
                drop(state);
                let why = reason.unwrap_or_default();
                let how = if why == KILLED || why == CANCELLED { How::Killed } else { How::Stopped };
                Self::Ended { who: cell.get_id(), how, why }
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                Self::Ended { who: cell.get_id(), how: How::Crashed, why: error.to_string() }
            }
            SupervisionEvent::ProcessGroupChanged(_) | SupervisionEvent::PidLifecycleEvent(_) => Self::Other,
        }
    }
}
