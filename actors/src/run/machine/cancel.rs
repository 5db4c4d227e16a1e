//! How a run is stopped: by a person, by the clock, or by a step that failed for good. Everything
//! under way is let go of at once; then what is done is undone, where the plan says how.

use greenroom_definitions::workflow::OnError;
use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::{Cause, Code, Json, UserId};

use super::UNDO_TIME_MAX;
use super::decide::Draft;
use super::effect::{Effect, TimerId};
use super::scheduling::whole;
use super::state::{Phase, State, Step, Track};

impl Draft<'_> {
    pub(super) fn cancel_asked(&mut self, by: &UserId) {
        if *self.next.phase() == Phase::Running && self.next.cancel.is_none() {
            self.note(Entry::CancelAsked { by: by.clone() });
        }
    }

    pub(super) fn lost(&mut self, cause: &Cause) {
        if *self.next.phase() == Phase::Running {
            self.stop(cause.clone());
        }
    }

    /// A timer never goes off early, so one that does means nothing.
    pub(super) fn deadline_passed(&mut self) {
        let has_passed = self.next.deadline().is_some_and(|deadline| deadline.passed(self.now));
        if *self.next.phase() == Phase::Running && has_passed {
            self.note(Entry::DeadlinePassed);
        }
    }

    /// Why the run may not go on; `None` while it may.
    pub(super) fn why_stop(&self) -> Option<Cause> {
        if let Some(by) = &self.next.cancel {
            let cause = Cause::new(Code::Cancelled, format!("{by} cancelled the run"));
            return Some(cause.with(serde_json::json!({ "by": by })));
        }
        if self.next.expired {
            return Some(Cause::new(Code::TimedOut, "the run's time is up"));
        }
        self.plan.steps.iter().find_map(|step| {
            let track = self.next.track(&step.id)?;
            let continues = step.for_each.as_ref().is_some_and(|each| each.on_error == OnError::Continue);
            let (key, cause) = failure(track, whole(&step.id), continues)?;
            Some(of_step(&key, cause))
        })
    }

    /// Lets go of everything under way, then undoes or ends.
    pub(super) fn stop(&mut self, cause: Cause) {
        for (key, is_called) in open_keys(&self.next) {
            if is_called {
                self.effects.push(Effect::Abort { key: key.clone() });
            }
            self.note(Entry::StepCancelled { key });
        }
        if self.has_something_to_undo() {
            let until = self.now.plus(UNDO_TIME_MAX);
            self.note(Entry::CompensationBegun { cause, until });
            self.effects.push(Effect::SetTimer { timer: TimerId::Undo, at: until });
            self.undo_next();
        } else {
            self.end(Err(cause));
        }
    }
}

/// The failure of a step that stops its run.
fn failure(track: &Track, own: StepKey, continues: bool) -> Option<(StepKey, &Cause)> {
    if let Step::Failed { cause } = &track.own {
        return Some((own, cause));
    }
    let items = track.items.as_ref().filter(|_| !continues)?;
    let index = items.failed?;
    match items.get(index)? {
        Step::Failed { cause } => Some((StepKey { step: own.step, index: Some(index) }, cause)),
        _ => None,
    }
}

/// Every step and item that has begun and not ended, and whether something is under way for it.
fn open_keys(state: &State) -> Vec<(StepKey, bool)> {
    let is_open = |step: &Step| match step {
        Step::InFlight { .. } | Step::Weighing => Some(true),
        Step::Backoff { .. } | Step::Asked { .. } | Step::Granted => Some(false),
        Step::Waiting
        | Step::Spread
        | Step::Done { .. }
        | Step::Skipped
        | Step::Failed { .. }
        | Step::Cancelled
        | Step::Undoing { .. }
        | Step::Undone
        | Step::NotUndone => None,
    };
    let mut keys = Vec::new();
    for (step, track) in state.tracks() {
        keys.extend(is_open(&track.own).map(|called| (whole(step), called)));
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
    let place = match key.index {
        Some(index) => format!("{}[{index}]", key.step),
        None => key.step.to_string(),
    };
    let prefix = format!("step `{place}`: ");
    let message = format!("{prefix}{}", cause.message.strip_prefix(&prefix).unwrap_or(&cause.message));
    let keeps_code = match cause.code.class() {
        greenroom_protocol::error::Class::Rejected => false,
        greenroom_protocol::error::Class::Denied => true,
        greenroom_protocol::error::Class::Failed => cause.code != Code::Cancelled,
    };
    let mut details = match &cause.details {
        Json::Object(members) if keeps_code => members.clone(),
        _ => serde_json::Map::new(),
    };
    details.insert("step".into(), Json::String(place));
    if !keeps_code {
        details.insert("cause".into(), serde_json::json!(cause));
    }
    Cause::new(if keeps_code { cause.code } else { Code::StepFailed }, message).with(Json::Object(details))
}
