//! A step that waits for a person. Who may answer is policy's affair; here it is only looked whether
//! there is something to answer.

use greenroom_protocol::journal::Entry;
use greenroom_protocol::{Cause, ErrorCode, StepId, UserId};

use super::decide::DecisionBuilder;
use super::scheduling::whole_step;
use super::state::{Phase, State, StepStatus};

/// Looks whether a step waits for a person.
///
/// # Errors
/// [`ErrorCode::RunNotActive`] if the run does not take answers any more; [`ErrorCode::UnknownStep`] if the
/// step does not wait.
pub fn answerable(state: &State, step: &StepId) -> Result<(), Cause> {
    match (state.phase(), state.step(&whole_step(step))) {
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
    pub(super) fn approved(&mut self, step: &StepId, by: &UserId) {
        if answerable(&self.next, step).is_ok() {
            self.record(Entry::ApprovalResolved { key: whole_step(step), approved: true, by: by.clone() });
        }
    }

    pub(super) fn rejected(&mut self, step: &StepId, by: &UserId) {
        if answerable(&self.next, step).is_err() {
            return;
        }
        self.record(Entry::ApprovalResolved { key: whole_step(step), approved: false, by: by.clone() });
        let cause = Cause::new(ErrorCode::ApprovalRejected, format!("{by} rejected it"))
            .with_details(serde_json::json!({ "by": by }));
        self.fail_unbegun(whole_step(step), cause);
    }
}
