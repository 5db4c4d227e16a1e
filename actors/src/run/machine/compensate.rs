//! Undoing: the steps that were done, in the reverse of the order in which they were, one at a time.
//! An undoing that fails is tried again a few times; what cannot be undone is named in the reply.

use std::time::Duration;

use greenroom_definitions::plan::PlanStep;
use greenroom_definitions::workflow::OnError;
use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{CallKey, Cause, ErrorCode};

use super::COMPENSATION_ATTEMPTS_MAX;
use super::decide::DecisionBuilder;
use super::effect::Effect;
use super::scheduling::whole_step;
use super::state::{Phase, State, StepState, StepStatus};

/// The wait before the second attempt; it doubles for each further one.
const COMPENSATION_DELAY: Duration = Duration::from_millis(500);

impl DecisionBuilder<'_> {
    pub(super) fn needs_compensation(&self) -> bool {
        self.last_done().is_some()
    }

    /// Undoes the step that was done last, unless another undoing is under way.
    pub(super) fn compensate_next(&mut self) {
        if compensating(&self.next).is_some() {
            return;
        }
        match self.last_done() {
            Some(key) => self.undo(key, 1, Duration::ZERO),
            None => {
                let Phase::Compensating { cause, .. } = self.next.phase() else { return };
                let cause = cause.as_ref().clone();
                self.end(Err(cause));
            }
        }
    }

    /// Calls whoever undoes a step.
    pub(super) fn undo(&mut self, key: StepKey, attempt: u32, after: Duration) {
        let Some(undoer) = self.planned(&key).and_then(|step| step.compensate.as_ref()) else { return };
        let Some(run) = self.next.started().map(|begun| begun.run.clone()) else { return };
        self.record(Entry::StepCompensationStarted { key: key.clone(), attempt });
        match self.pinned(&undoer.agent) {
            Ok(target) => {
                let call = CallKey::for_step(&run, &key.step, key.index).compensation();
                self.effects.push(Effect::Compensate { key, attempt, target, call, after });
            }
            Err(cause) => self.on_compensation_failed(key, cause, Usage::default(), 0),
        }
    }

    pub(super) fn on_compensated(&mut self, key: &StepKey, attempt: u32, cause: Option<&Cause>, usage: &Usage) {
        let Phase::Compensating { until, .. } = *self.next.phase() else { return };
        let StepStatus::Compensating { attempt: current, since, .. } = *self.next.step(key) else { return };
        if current != attempt {
            return;
        }
        let duration_ms = self.elapsed_ms(since);
        let Some(cause) = cause else {
            let key = key.clone();
            return self.record(Entry::StepCompensationEnded { key, cause: None, usage: usage.clone(), duration_ms });
        };
        let after = COMPENSATION_DELAY.saturating_mul(1 << attempt.saturating_sub(1).min(8));
        if attempt < COMPENSATION_ATTEMPTS_MAX && cause.code.is_retryable() && self.now.saturating_add(after) < until {
            self.undo(key.clone(), attempt.saturating_add(1), after);
        } else {
            self.on_compensation_failed(key.clone(), cause.clone(), usage.clone(), duration_ms);
        }
    }

    /// Leaves the rest as it is, since the time for undoing is up.
    pub(super) fn stop_undoing(&mut self) {
        let Phase::Compensating { until, .. } = *self.next.phase() else { return };
        if self.now < until {
            return;
        }
        let late = || Cause::new(ErrorCode::TimedOut, "the time for undoing was up");
        if let Some(key) = compensating(&self.next) {
            self.effects.push(Effect::Abort { key: key.clone() });
            self.on_compensation_failed(key, late(), Usage::default(), 0);
        }
        while let Some(key) = self.last_done() {
            self.on_compensation_failed(key, late(), Usage::default(), 0);
        }
    }

    fn on_compensation_failed(&mut self, key: StepKey, cause: Cause, usage: Usage, duration_ms: u64) {
        self.record(Entry::StepCompensationEnded { key, cause: Some(cause), usage, duration_ms });
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
fn last_of(step: &PlanStep, track: &StepState) -> Option<(u32, StepKey)> {
    if let StepStatus::Done { order, .. } = &track.status {
        return Some((*order, whole_step(&step.id)));
    }
    let on_error = step.for_each.as_ref().map(|each| each.on_error)?;
    let items = track.items.as_ref()?;
    if items.failed.is_some() && on_error == OnError::Fail {
        return None;
    }
    let done = items.iter().filter_map(|(index, item)| match item {
        StepStatus::Done { order, .. } => Some((*order, StepKey { step: step.id.clone(), index: Some(index) })),
        _ => None,
    });
    done.max_by_key(|(order, _)| *order)
}

/// The step that is being undone.
pub(super) fn compensating(state: &State) -> Option<StepKey> {
    let is_undoing = |step: &StepStatus| matches!(step, StepStatus::Compensating { .. });
    state.tracks().find_map(|(step, track)| {
        if is_undoing(&track.status) {
            return Some(whole_step(step));
        }
        let (index, _) = track.items.as_ref()?.iter().find(|(_, item)| is_undoing(item))?;
        Some(StepKey { step: step.clone(), index: Some(index) })
    })
}
