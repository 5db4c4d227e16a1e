//! Resumption of a run: effects that were in flight are repeated under the same keys, timers are set for the same
//! time, and completed steps are not repeated.

use std::time::Duration;

use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::{CallKey, Deadline, Timestamp};
use greenroom_registry::runs::OwnerActivity;

use super::decide::DecisionBuilder;
use super::effect::{CallTarget, Effect, TimerId};
use super::scheduling::step_key;
use super::state::{Phase, State, StepStatus};

impl DecisionBuilder<'_> {
    pub(super) fn on_resumed(&mut self, definitions_changed: bool, deadline: Deadline) {
        match self.next.phase() {
            Phase::New | Phase::Ended(_) => return,
            Phase::Running | Phase::Compensating { .. } => {}
        }
        let restarts = interrupted_calls(&self.next);
        self.record(Entry::RunResumed { definitions_changed, deadline, restarts });
        self.collecting_outputs = false;
        match *self.next.phase() {
            Phase::Running => self.set_deadline_timers(),
            Phase::Compensating { until, .. } => {
                self.effects.push(Effect::SetTimer { timer: TimerId::Compensation, at: until });
            }
            Phase::New | Phase::Ended(_) => {}
        }
        for (key, step) in started_steps(&self.next) {
            self.restart_effect(key, &step);
        }
    }

    fn restart_effect(&mut self, key: StepKey, step: &StepStatus) {
        let Some(run) = self.next.started().map(|started| started.run.clone()) else { return };
        let Some(planned) = self.plan_step(&key) else { return };
        let call = CallKey::for_step(&run, &key.step, key.index);
        match step {
            StepStatus::Evaluating => self.effects.push(Effect::EvaluateStep { step: key.step }),
            StepStatus::InFlight { attempt, .. } => {
                if let Ok(Some(target)) = self.call_target(planned) {
                    self.effects.push(Effect::Call { key, attempt: *attempt, target, call });
                }
            }
            StepStatus::Backoff { at, .. } => {
                self.effects.push(Effect::SetTimer { timer: TimerId::Retry(key), at: *at });
            }
            StepStatus::Compensating { attempt, .. } => {
                if let Some(target) = self.compensation_target(planned) {
                    let (attempt, call) = (*attempt, call.compensation());
                    self.effects.push(Effect::Compensate { key, attempt, target, call, after: Duration::ZERO });
                }
            }
            StepStatus::AwaitingApproval { until, .. } => self.set_approval_timer(&key.step, *until),
            StepStatus::AwaitingEvent { attempt, until, target, .. } => {
                self.set_wait_effects(&key, *attempt, target, *until);
            }
            // A decision that the journal has, but not what follows from it.
            StepStatus::AwaitingToolApproval { .. } => self.continue_suspended(key),
            StepStatus::Waiting
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

    fn compensation_target(&self, step: &greenroom_definitions::plan::PlanStep) -> Option<CallTarget> {
        self.pinned_agent(&step.compensate.as_ref()?.agent).ok()
    }
}

/// The deadline of a resumed run: the time in which it had no owner does not count. It had one until its last entry at
/// least. An owner that has written to it worked on it for as long as that owner was active, also if the run was quiet
/// for hours; an owner that has written nothing to it has not resumed it. The deadline of a run that only waited for
/// approvals moves when it continues. One that only waits for a retry needs no owner until the time of that retry.
pub(crate) fn deadline_after_pause(state: &State, last_owner: Option<OwnerActivity>, now: Timestamp) -> Deadline {
    let last_at = state.last_at();
    let worked_until = last_owner.filter(|owner| last_at >= owner.since).map(|owner| owner.until);
    let paused_at = worked_until.map_or(last_at, |until| until.max(last_at));
    let paused_at = state.next_retry().map_or(paused_at, |retry_at| retry_at.max(paused_at));
    let pause = if state.is_paused() { Duration::ZERO } else { now.saturating_duration_since(paused_at) };
    Deadline(state.deadline().map_or(now, |deadline| deadline.0.saturating_add(pause)))
}

/// The steps whose calls of an agent are in flight: what they have written is void. A run that a step has called is
/// resumed, and says the same of its own steps.
fn interrupted_calls(state: &State) -> Vec<StepKey> {
    let calls_run = |key: &StepKey| state.step_state(&key.step).is_some_and(|step_state| step_state.calls_run);
    let in_flight = started_steps(state)
        .into_iter()
        .filter(|(key, status)| matches!(status, StepStatus::InFlight { .. }) && !calls_run(key));
    in_flight.map(|(key, _)| key).collect()
}

/// All steps, and the items that have started and not ended.
fn started_steps(state: &State) -> Vec<(StepKey, StepStatus)> {
    let mut steps = Vec::new();
    for (step, step_state) in state.step_states() {
        steps.push((step_key(step), step_state.status.clone()));
        let items = step_state.items.iter().flat_map(|items| items.iter());
        let started = items.filter(|(_, item)| item.is_open() || matches!(item, StepStatus::Compensating { .. }));
        steps.extend(started.map(|(index, item)| (StepKey { step: step.clone(), index: Some(index) }, item.clone())));
    }
    steps
}
