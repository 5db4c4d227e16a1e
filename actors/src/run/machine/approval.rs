//! A step that waits for a person. Who may answer is policy's affair; here it is only looked whether
//! there is something to answer.

use greenroom_protocol::journal::Entry;
use greenroom_protocol::{Cause, Code, StepId, UserId};

use super::decide::Draft;
use super::scheduling::whole;
use super::state::{Phase, State, Step};

/// Looks whether a step waits for a person.
///
/// # Errors
/// [`Code::RunNotActive`] if the run does not take answers any more; [`Code::UnknownStep`] if the
/// step does not wait.
pub fn answerable(state: &State, step: &StepId) -> Result<(), Cause> {
    match (state.phase(), state.step(&whole(step))) {
        (Phase::Running, Step::Asked { .. }) => Ok(()),
        (Phase::Running, _) => {
            Err(Cause::new(Code::UnknownStep, format!("the run has no step `{step}` that waits for a person")))
        }
        (Phase::New | Phase::Undoing { .. } | Phase::Ended(_), _) => {
            Err(Cause::new(Code::RunNotActive, "the run does not wait for a person any more"))
        }
    }
}

impl Draft<'_> {
    pub(super) fn approved(&mut self, step: &StepId, by: &UserId) {
        if answerable(&self.next, step).is_ok() {
            self.note(Entry::ApprovalAnswered { key: whole(step), approved: true, by: by.clone() });
        }
    }

    pub(super) fn rejected(&mut self, step: &StepId, by: &UserId) {
        if answerable(&self.next, step).is_err() {
            return;
        }
        self.note(Entry::ApprovalAnswered { key: whole(step), approved: false, by: by.clone() });
        let cause =
            Cause::new(Code::ApprovalRejected, format!("{by} rejected it")).with(serde_json::json!({ "by": by }));
        self.fail_unbegun(whole(step), cause);
    }
}
