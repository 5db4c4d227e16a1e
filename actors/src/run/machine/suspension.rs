//! What the journal has of a step whose agent has called tools that need an approval.

use greenroom_protocol::conversation::{PendingToolCall, StepApprovals, SuspendedCall, ToolDecision};

/// A call of an agent that waits for decisions about calls of its tools, or continues with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspension {
    call: SuspendedCall,
    decisions: Vec<ToolDecision>,
    /// 1 for the first suspension of the step.
    number: u32,
}

impl Suspension {
    pub(super) const fn new(call: SuspendedCall, number: u32) -> Self {
        Self { call, decisions: Vec::new(), number }
    }

    /// What the request that continues the step has.
    #[must_use]
    pub fn approvals(&self) -> StepApprovals {
        StepApprovals { conversation: Some(self.call.conversation.clone()), decisions: self.decisions.clone() }
    }

    /// 1 for the first suspension of the step.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// The calls that wait for a decision.
    pub(super) fn pending(&self) -> impl Iterator<Item = &PendingToolCall> {
        self.call.calls.iter().filter(|call| !self.decisions.iter().any(|decision| decision.call == call.call))
    }

    pub(super) fn add_decisions(&mut self, decisions: impl Iterator<Item = ToolDecision>) {
        self.decisions.extend(decisions);
    }
}
