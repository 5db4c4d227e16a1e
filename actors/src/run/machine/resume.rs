//! A run in a new process: what was in flight is asked for again under the same keys, what waited
//! for a moment waits for the same moment, and what was done is not touched.

use std::time::Duration;

use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::{CallKey, Deadline, Timestamp};

use super::decide::DecisionBuilder;
use super::effect::{CallTarget, Effect, TimerId};
use super::scheduling::whole_step;
use super::state::{Phase, State, StepStatus};

impl DecisionBuilder<'_> {
    pub(super) fn resume(&mut self, definitions_changed: bool, deadline: Deadline) {
        match self.next.phase() {
            Phase::New | Phase::Ended(_) => return,
            Phase::Running | Phase::Compensating { .. } => {}
        }
        self.record(Entry::RunResumed { definitions_changed, deadline });
        self.gathering = false;
        match *self.next.phase() {
            Phase::Running => self.effects.push(Effect::SetTimer { timer: TimerId::Deadline, at: deadline.0 }),
            Phase::Compensating { until, .. } => {
                self.effects.push(Effect::SetTimer { timer: TimerId::Undo, at: until });
            }
            Phase::New | Phase::Ended(_) => {}
        }
        for (key, step) in started_steps(&self.next) {
            self.request_approval_again(key, &step);
        }
    }

    fn request_approval_again(&mut self, key: StepKey, step: &StepStatus) {
        let Some(run) = self.next.started().map(|begun| begun.run.clone()) else { return };
        let Some(planned) = self.planned(&key) else { return };
        let call = CallKey::for_step(&run, &key.step, key.index);
        match step {
            StepStatus::Evaluating => self.effects.push(Effect::EvaluateStep { step: key.step }),
            StepStatus::InFlight { attempt, .. } => {
                if let Ok(Some(target)) = self.target(planned) {
                    self.effects.push(Effect::Call { key, attempt: *attempt, target, call });
                }
            }
            StepStatus::Backoff { at, .. } => {
                self.effects.push(Effect::SetTimer { timer: TimerId::Retry(key), at: *at });
            }
            StepStatus::Compensating { attempt, .. } => {
                if let Some(target) = self.undoer(planned) {
                    let (attempt, call) = (*attempt, call.compensation());
                    self.effects.push(Effect::Compensate { key, attempt, target, call, after: Duration::ZERO });
                }
            }
            StepStatus::Waiting
            | StepStatus::AwaitingApproval { .. }
            | StepStatus::Approved
            | StepStatus::RunningItems
            | StepStatus::Done { .. }
            | StepStatus::Skipped
            | StepStatus::Failed { .. }
            | StepStatus::Cancelled
            | StepStatus::Compensated
            | StepStatus::CompensationFailed => {}
        }
    }

    fn undoer(&self, step: &greenroom_definitions::plan::PlanStep) -> Option<CallTarget> {
        self.pinned(&step.compensate.as_ref()?.agent).ok()
    }
}

/// When a resumed run must have ended: the time between its last entry and now does not count.
pub(crate) fn deadline_after_pause(state: &State, now: Timestamp) -> Deadline {
    let dead = now.saturating_duration_since(state.last_at());
    Deadline(state.deadline().map_or(now, |deadline| deadline.0.saturating_add(dead)))
}

/// Every step and item that something was journalled of.
fn started_steps(state: &State) -> Vec<(StepKey, StepStatus)> {
    let mut steps = Vec::new();
    for (step, track) in state.tracks() {
        steps.push((whole_step(step), track.status.clone()));
        let items = track.items.iter().flat_map(|items| items.iter());
        let begun = items.filter(|(_, item)| item.is_in_flight() || matches!(item, StepStatus::Compensating { .. }));
        steps.extend(begun.map(|(index, item)| (StepKey { step: step.clone(), index: Some(index) }, item.clone())));
    }
    steps
}
