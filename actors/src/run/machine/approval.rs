//! Approval of a step. Policy decides who may approve; this file only checks whether the step awaits approval.

use greenroom_protocol::journal::Entry;
use greenroom_protocol::{Cause, ErrorCode, StepId, UserId};

use super::decide::DecisionBuilder;
use super::scheduling::step_key;
use super::state::{Phase, State, StepStatus};

/// Checks that a step awaits approval.
///
/// # Errors
/// [`ErrorCode::RunNotActive`] if the run no longer accepts approvals; [`ErrorCode::UnknownStep`] if the step does
/// not await approval.
pub fn require_awaiting_approval(state: &State, step: &StepId) -> Result<(), Cause> {
    match (state.phase(), state.step_status(&step_key(step))) {
        (Phase::Running, StepStatus::AwaitingApproval { .. }) => Ok(()),
        (Phase::Running, _) => {
            Err(Cause::new(ErrorCode::UnknownStep, format!("the run has no step `{step}` that waits for a person")))
        }
        (Phase::New | Phase::Compensating { .. } | Phase::Ended(_), _) => {
            Err(Cause::new(ErrorCode::RunNotActive, "the run does not wait for a person any more"))
        }
    }
}

impl DecisionBuilder<'_> {
    pub(super) fn on_approved(&mut self, step: &StepId, by: &UserId) {
        if require_awaiting_approval(&self.next, step).is_ok() {
            self.record(Entry::ApprovalResolved { key: step_key(step), approved: true, by: by.clone() });
        }
    }

    pub(super) fn on_rejected(&mut self, step: &StepId, by: &UserId) {
        if require_awaiting_approval(&self.next, step).is_err() {
            return;
        }
        self.record(Entry::ApprovalResolved { key: step_key(step), approved: false, by: by.clone() });
        let cause = Cause::new(ErrorCode::ApprovalRejected, format!("{by} rejected it"))
            .with_details(serde_json::json!({ "by": by }));
        self.fail_unstarted(step_key(step), cause);
    }
}
