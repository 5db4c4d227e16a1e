//! What the parts of a run do at present, counted.

use greenroom_protocol::journal::PendingApproval;

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
}

impl Counts {
    /// Subtracts what a step was, and adds what it is now.
    pub(super) const fn replace(&mut self, was: Self, is: Self) {
        self.in_flight = self.in_flight.saturating_add(is.in_flight).saturating_sub(was.in_flight);
        self.backing_off = self.backing_off.saturating_add(is.backing_off).saturating_sub(was.backing_off);
        self.evaluating = self.evaluating.saturating_add(is.evaluating).saturating_sub(was.evaluating);
        self.awaiting = self.awaiting.saturating_add(is.awaiting).saturating_sub(was.awaiting);
    }
}

/// What the run of a call waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallWaits {
    /// The steps that await an approval, of that run and of the runs that it called.
    pub approvals: Vec<PendingApproval>,
    /// True if that run does nothing else.
    pub idle: bool,
}
