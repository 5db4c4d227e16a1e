//! Stop of a run: by a user, by its deadline, or by a failed step. All effects in flight are aborted at once; then
//! completed steps are compensated where the plan defines it, and the runs end that the aborted calls had started.

use greenroom_definitions::workflow::OnError;
use greenroom_protocol::journal::{Entry, StepKey, WaitTarget};
use greenroom_protocol::{Cause, ErrorCode, Json, UserId};

use super::decide::DecisionBuilder;
use super::effect::{Effect, TimerId};
use super::scheduling::step_key;
use super::state::{Phase, State, StepState, StepStatus};

impl DecisionBuilder<'_> {
    pub(super) fn on_cancel_requested(&mut self, by: &UserId) {
        if *self.next.phase() == Phase::Running && self.next.cancelled_by.is_none() {
            self.record(Entry::CancelRequested { by: by.clone() });
        }
    }

    pub(super) fn on_terminated(&mut self, cause: &Cause) {
        if *self.next.phase() == Phase::Running {
            self.stop(cause.clone());
        }
    }

    /// A timer that fires early, or while the run is paused, is ignored.
    pub(super) fn on_deadline(&mut self) {
        if *self.next.phase() == Phase::Running && self.next.has_passed_deadline(self.now) {
            self.record(Entry::DeadlinePassed);
        }
    }

    /// The cause that stops the run; `None` if it continues.
    pub(super) fn stop_cause(&self) -> Option<Cause> {
        if let Some(by) = &self.next.cancelled_by {
            let cause = Cause::new(ErrorCode::Cancelled, format!("{by} cancelled the run"));
            return Some(cause.with_details(serde_json::json!({ "by": by })));
        }
        if self.next.deadline_passed {
            return Some(Cause::new(ErrorCode::TimedOut, "the run's time is up"));
        }
        self.plan.steps.iter().find_map(|step| {
            let step_state = self.next.step_state(&step.id)?;
            let continues = step.for_each.as_ref().is_some_and(|each| each.on_error == OnError::Continue);
            let (key, cause) = failure(step_state, step_key(&step.id), continues)?;
            Some(step_cause(&key, cause))
        })
    }

    /// Aborts everything in flight, then compensates or ends.
    pub(super) fn stop(&mut self, cause: Cause) {
        for (key, is_called) in open_keys(&self.next) {
            if is_called {
                self.effects.push(Effect::Abort { key: key.clone() });
            }
            self.record(Entry::StepCancelled { key });
        }
        if self.needs_compensation() {
            let until = self.now.saturating_add(self.plan.compensation_timeout);
            self.record(Entry::RunCompensationStarted { cause, give_up_at: until });
            self.effects.push(Effect::SetTimer { timer: TimerId::Compensation, at: until });
            self.compensate_next();
        } else {
            self.end(Err(cause));
        }
    }
}

/// The failure of a step that stops its run.
fn failure(step_state: &StepState, status: StepKey, continues: bool) -> Option<(StepKey, &Cause)> {
    if let StepStatus::Failed { cause } = &step_state.status {
        return Some((status, cause));
    }
    let items = step_state.items.as_ref().filter(|_| !continues)?;
    let index = items.first_failed?;
    match items.get(index)? {
        StepStatus::Failed { cause } => Some((StepKey { step: status.step, index: Some(index) }, cause)),
        _ => None,
    }
}

/// Every step and item that has started and not ended, and whether an effect of it is in flight.
fn open_keys(state: &State) -> Vec<(StepKey, bool)> {
    let is_open = |step: &StepStatus| match step {
        StepStatus::InFlight { .. } | StepStatus::Evaluating => Some(true),
        StepStatus::AwaitingEvent { target, .. } => Some(matches!(target.as_ref(), WaitTarget::Context(_))),
        StepStatus::Backoff { .. }
        | StepStatus::AwaitingApproval { .. }
        | StepStatus::AwaitingToolApproval { .. }
        | StepStatus::Approved => Some(false),
        StepStatus::Waiting
        | StepStatus::RunningItems
        | StepStatus::Done { .. }
        | StepStatus::Skipped
        | StepStatus::Failed { .. }
        | StepStatus::Cancelled
        | StepStatus::Compensating { .. }
        | StepStatus::Compensated
        | StepStatus::CompensationFailed => None,
    };
    let mut keys = Vec::new();
    for (step, step_state) in state.step_states() {
        keys.extend(is_open(&step_state.status).map(|is_called| (step_key(step), is_called)));
        for (index, item) in step_state.items.iter().filter(|items| items.in_flight > 0).flat_map(|items| items.iter())
        {
            let key = || StepKey { step: step.clone(), index: Some(index) };
            keys.extend(is_open(item).map(|is_called| (key(), is_called)));
        }
    }
    keys
}

/// Converts the cause of a step into that of its run. The code is preserved, unless it would describe the request for
/// the run itself, which was valid and was not cancelled.
fn step_cause(key: &StepKey, cause: &Cause) -> Cause {
    let name = match key.index {
        Some(index) => format!("{}[{index}]", key.step),
        None => key.step.to_string(),
    };
    let prefix = format!("step `{name}`: ");
    let message = format!("{prefix}{}", cause.message.strip_prefix(&prefix).unwrap_or(&cause.message));
    let keep_code = match cause.code.class() {
        greenroom_protocol::error::ErrorClass::Rejected => false,
        greenroom_protocol::error::ErrorClass::Denied => true,
        greenroom_protocol::error::ErrorClass::Failed => cause.code != ErrorCode::Cancelled,
    };
    let mut details = match &cause.details {
        Json::Object(members) if keep_code => members.clone(),
        _ => serde_json::Map::new(),
    };
    details.insert("step".into(), Json::String(name));
    if !keep_code {
        details.insert("cause".into(), serde_json::json!(cause));
    }
    Cause::new(if keep_code { cause.code } else { ErrorCode::StepFailed }, message).with_details(Json::Object(details))
}
