//! Undoing: the steps that were done, in the reverse of the order in which they were, one at a time.
//! An undoing that fails is tried again a few times; what cannot be undone is named in the reply.

use std::time::Duration;

use greenroom_definitions::plan::PlanStep;
use greenroom_definitions::workflow::OnError;
use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{CallKey, Cause, Code};

use super::UNDO_ATTEMPTS_MAX;
use super::decide::Draft;
use super::effect::Effect;
use super::scheduling::whole;
use super::state::{Phase, State, Step, Track};

/// The wait before the second attempt; it doubles for each further one.
const UNDO_DELAY: Duration = Duration::from_millis(500);

impl Draft<'_> {
    pub(super) fn has_something_to_undo(&self) -> bool {
        self.last_done().is_some()
    }

    /// Undoes the step that was done last, unless another undoing is under way.
    pub(super) fn undo_next(&mut self) {
        if undoing(&self.next).is_some() {
            return;
        }
        match self.last_done() {
            Some(key) => self.undo(key, 1, Duration::ZERO),
            None => {
                let Phase::Undoing { cause, .. } = self.next.phase() else { return };
                let cause = cause.as_ref().clone();
                self.end(Err(cause));
            }
        }
    }

    /// Calls whoever undoes a step.
    pub(super) fn undo(&mut self, key: StepKey, attempt: u32, after: Duration) {
        let Some(undoer) = self.planned(&key).and_then(|step| step.compensate.as_ref()) else { return };
        let Some(run) = self.next.begun().map(|begun| begun.run.clone()) else { return };
        self.note(Entry::CompensationStarted { key: key.clone(), attempt });
        match self.pinned(&undoer.agent) {
            Ok(target) => {
                let call = CallKey::of_step(&run, &key.step, key.index).undo();
                self.effects.push(Effect::Undo { key, attempt, target, call, after });
            }
            Err(cause) => self.not_undone(key, cause, Usage::default(), 0),
        }
    }

    pub(super) fn undone(&mut self, key: &StepKey, attempt: u32, cause: Option<&Cause>, usage: &Usage) {
        let Phase::Undoing { until, .. } = *self.next.phase() else { return };
        let Step::Undoing { attempt: current, since, .. } = *self.next.step(key) else { return };
        if current != attempt {
            return;
        }
        let duration_ms = self.elapsed_ms(since);
        let Some(cause) = cause else {
            let key = key.clone();
            return self.note(Entry::CompensationEnded { key, cause: None, usage: usage.clone(), duration_ms });
        };
        let after = UNDO_DELAY.saturating_mul(1 << attempt.saturating_sub(1).min(8));
        if attempt < UNDO_ATTEMPTS_MAX && cause.code.may_retry() && self.now.plus(after) < until {
            self.undo(key.clone(), attempt.saturating_add(1), after);
        } else {
            self.not_undone(key.clone(), cause.clone(), usage.clone(), duration_ms);
        }
    }

    /// Leaves the rest as it is, since the time for undoing is up.
    pub(super) fn stop_undoing(&mut self) {
        let Phase::Undoing { until, .. } = *self.next.phase() else { return };
        if self.now < until {
            return;
        }
        let late = || Cause::new(Code::TimedOut, "the time for undoing was up");
        if let Some(key) = undoing(&self.next) {
            self.effects.push(Effect::Abort { key: key.clone() });
            self.not_undone(key, late(), Usage::default(), 0);
        }
        while let Some(key) = self.last_done() {
            self.not_undone(key, late(), Usage::default(), 0);
        }
    }

    fn not_undone(&mut self, key: StepKey, cause: Cause, usage: Usage, duration_ms: u64) {
        self.note(Entry::CompensationEnded { key, cause: Some(cause), usage, duration_ms });
    }

    /// The step that was done last, of those that can be undone and are not.
    fn last_done(&self) -> Option<StepKey> {
        let steps = self.plan.steps.iter().filter(|step| step.compensate.is_some());
        let done = steps.filter_map(|step| last_of(step, self.next.track(&step.id)?));
        done.max_by_key(|(order, _)| *order).map(|(_, key)| key)
    }
}

/// What of a step was done last. The items of a list whose step failed stay done, unless its
/// `on_error` says `compensate`.
fn last_of(step: &PlanStep, track: &Track) -> Option<(u32, StepKey)> {
    if let Step::Done { order, .. } = &track.own {
        return Some((*order, whole(&step.id)));
    }
    let on_error = step.for_each.as_ref().map(|each| each.on_error)?;
    let items = track.items.as_ref()?;
    if items.failed.is_some() && on_error == OnError::Fail {
        return None;
    }
    let done = items.iter().filter_map(|(index, item)| match item {
        Step::Done { order, .. } => Some((*order, StepKey { step: step.id.clone(), index: Some(index) })),
        _ => None,
    });
    done.max_by_key(|(order, _)| *order)
}

/// The step that is being undone.
pub(super) fn undoing(state: &State) -> Option<StepKey> {
    let is_undoing = |step: &Step| matches!(step, Step::Undoing { .. });
    state.tracks().find_map(|(step, track)| {
        if is_undoing(&track.own) {
            return Some(whole(step));
        }
        let (index, _) = track.items.as_ref()?.iter().find(|(_, item)| is_undoing(item))?;
        Some(StepKey { step: step.clone(), index: Some(index) })
    })
}
