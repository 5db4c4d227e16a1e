//! How a run is stopped: by a person, by the clock, or by a step that failed for good. Everything
//! under way is let go of at once; then what is done is undone, where the plan says how.

use greenroom_definitions::workflow::OnError;
use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::{Cause, ErrorCode, Json, UserId};

use super::COMPENSATION_TIME_MAX;
use super::decide::DecisionBuilder;
use super::effect::{Effect, TimerId};
use super::scheduling::whole_step;
use super::state::{Phase, State, StepState, StepStatus};

impl DecisionBuilder<'_> {
    pub(super) fn on_cancel_requested(&mut self, by: &UserId) {
        if *self.next.phase() == Phase::Running && self.next.cancelled_by.is_none() {
            self.record(Entry::CancelRequested { by: by.clone() });
        }
    }

    pub(super) fn lost(&mut self, cause: &Cause) {
        if *self.next.phase() == Phase::Running {
            self.stop(cause.clone());
        }
    }

    /// A timer never goes off early, so one that does means nothing.
    pub(super) fn deadline_passed(&mut self) {
        let has_passed = self.next.deadline().is_some_and(|deadline| deadline.has_passed(self.now));
        if *self.next.phase() == Phase::Running && has_passed {
            self.record(Entry::DeadlinePassed);
        }
    }

    /// Why the run may not go on; `None` while it may.
    pub(super) fn stop_cause(&self) -> Option<Cause> {
        if let Some(by) = &self.next.cancelled_by {
            let cause = Cause::new(ErrorCode::Cancelled, format!("{by} cancelled the run"));
            return Some(cause.with_details(serde_json::json!({ "by": by })));
        }
        if self.next.deadline_passed {
            return Some(Cause::new(ErrorCode::TimedOut, "the run's time is up"));
        }
        self.plan.steps.iter().find_map(|step| {
            let track = self.next.track(&step.id)?;
            let continues = step.for_each.as_ref().is_some_and(|each| each.on_error == OnError::Continue);
            let (key, cause) = failure(track, whole_step(&step.id), continues)?;
            Some(of_step(&key, cause))
        })
    }

    /// Lets go of everything under way, then undoes or ends.
    pub(super) fn stop(&mut self, cause: Cause) {
        for (key, is_called) in open_keys(&self.next) {
            if is_called {
                self.effects.push(Effect::Abort { key: key.clone() });
            }
            self.record(Entry::StepCancelled { key });
        }
        if self.needs_compensation() {
            let until = self.now.saturating_add(COMPENSATION_TIME_MAX);
            self.record(Entry::RunCompensationStarted { cause, give_up_at: until });
            self.effects.push(Effect::SetTimer { timer: TimerId::Undo, at: until });
            self.compensate_next();
        } else {
            self.end(Err(cause));
        }
    }
}

/// The failure of a step that stops its run.
fn failure(track: &StepState, own: StepKey, continues: bool) -> Option<(StepKey, &Cause)> {
    if let StepStatus::Failed { cause } = &track.status {
        return Some((own, cause));
    }
    let items = track.items.as_ref().filter(|_| !continues)?;
    let index = items.failed?;
    match items.get(index)? {
        StepStatus::Failed { cause } => Some((StepKey { step: own.step, index: Some(index) }, cause)),
        _ => None,
    }
}

/// Every step and item that has begun and not ended, and whether something is under way for it.
fn open_keys(state: &State) -> Vec<(StepKey, bool)> {
    let is_open = |step: &StepStatus| match step {
        StepStatus::InFlight { .. } | StepStatus::Evaluating => Some(true),
        StepStatus::Backoff { .. } | StepStatus::AwaitingApproval { .. } | StepStatus::Approved => Some(false),
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
    for (step, track) in state.tracks() {
        keys.extend(is_open(&track.status).map(|called| (whole_step(step), called)));
        for (index, item) in track.items.iter().filter(|items| items.live > 0).flat_map(|items| items.iter()) {
            let key = || StepKey { step: step.clone(), index: Some(index) };
            keys.extend(is_open(item).map(|called| (key(), called)));
        }
    }
    keys
}

/// A step's cause as its run's. The code stays, so that a program sees what went wrong, unless it
/// would speak of the run's own request: that one was right, and the run was not cancelled.
fn of_step(key: &StepKey, cause: &Cause) -> Cause {
    let ticket = match key.index {
        Some(index) => format!("{}[{index}]", key.step),
        None => key.step.to_string(),
    };
    let prefix = format!("step `{ticket}`: ");
    let message = format!("{prefix}{}", cause.message.strip_prefix(&prefix).unwrap_or(&cause.message));
    let keeps_code = match cause.code.class() {
        greenroom_protocol::error::ErrorClass::Rejected => false,
        greenroom_protocol::error::ErrorClass::Denied => true,
        greenroom_protocol::error::ErrorClass::Failed => cause.code != ErrorCode::Cancelled,
    };
    let mut details = match &cause.details {
        Json::Object(members) if keeps_code => members.clone(),
        _ => serde_json::Map::new(),
    };
    details.insert("step".into(), Json::String(ticket));
    if !keeps_code {
        details.insert("cause".into(), serde_json::json!(cause));
    }
    Cause::new(if keeps_code { cause.code } else { ErrorCode::StepFailed }, message).with_details(Json::Object(details))
}
