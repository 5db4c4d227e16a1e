//! What the parts of a run do at present, counted.

use greenroom_protocol::Timestamp;
use greenroom_protocol::journal::{PendingApproval, PendingWait};

/// Counts of steps and items by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Steps and items whose call is in flight or waits for a retry.
    pub(super) in_flight: u32,
    /// Those of them that wait for a retry.
    pub(super) backing_off: u32,
    /// Steps whose condition, items or prompt are being evaluated.
    pub(super) evaluating: u32,
    /// Steps that await an approval.
    pub(super) awaiting: u32,
    /// Steps that wait for a value of the context or for an event.
    pub(super) awaiting_events: u32,
}

impl Counts {
    /// Subtracts what a step was, and adds what it is now.
    pub(super) const fn replace(&mut self, was: Self, is: Self) {
        self.in_flight = self.in_flight.saturating_add(is.in_flight).saturating_sub(was.in_flight);
        self.backing_off = self.backing_off.saturating_add(is.backing_off).saturating_sub(was.backing_off);
        self.evaluating = self.evaluating.saturating_add(is.evaluating).saturating_sub(was.evaluating);
        self.awaiting = self.awaiting.saturating_add(is.awaiting).saturating_sub(was.awaiting);
        self.awaiting_events =
            self.awaiting_events.saturating_add(is.awaiting_events).saturating_sub(was.awaiting_events);
    }
}

/// What the run of a call waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallWaits {
    /// The steps that await an approval, of that run and of the runs that it called.
    pub approvals: Vec<PendingApproval>,
    /// The steps of these runs that wait for a value of the context or for an event.
    pub waits: Vec<PendingWait>,
    /// True if that run does nothing else.
    pub idle: bool,
    /// When that run continues, if it does nothing but wait for a late retry until then; its time passes.
    pub retry_at: Option<Timestamp>,
}

impl CallWaits {
    /// True if no step waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.approvals.is_empty() && self.waits.is_empty() && self.retry_at.is_none()
    }
}
