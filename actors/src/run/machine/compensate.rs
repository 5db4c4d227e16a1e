//! Compensation of completed steps, in reverse order of completion, one at a time. A failed compensation is retried a
//! few times; the reply names the steps whose compensation failed.
//!
//! A run whose call ended without a result compensates its own steps, in time of its own, and the run that called it
//! ends after it: the cost of the one is a part of the cost of the other.

use std::time::Duration;

use greenroom_definitions::plan::PlanStep;
use greenroom_definitions::workflow::OnError;
use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{CallKey, Cause, ErrorCode};

use super::COMPENSATION_ATTEMPTS_MAX;
use super::decide::DecisionBuilder;
use super::effect::Effect;
use super::scheduling::step_key;
use super::state::{Phase, State, StepState, StepStatus};

/// The delay before the second attempt; it doubles for each further one.
const COMPENSATION_DELAY: Duration = Duration::from_millis(500);

impl DecisionBuilder<'_> {
    /// True if there are steps to compensate, or runs that have to end, before the run ends.
    pub(super) fn needs_compensation(&self) -> bool {
        self.last_completed().is_some() || self.next.has_unneeded_runs()
    }

    /// Compensates the step that completed last, unless a compensation is in flight.
    pub(super) fn compensate_next(&mut self) {
        // A compensation that cannot start has failed, and the next step follows at once.
        while compensating(&self.next).is_none() {
            match self.last_completed() {
                Some(key) => self.start_compensation(key, 1, Duration::ZERO),
                None if self.next.has_unneeded_runs() => return self.end_inner_runs(),
                None => return self.end_compensated(),
            }
        }
    }

    /// Ends the runs that no step needs any more. The effect is started again with each further entry and with each
    /// resumption, so the state has nothing of it.
    fn end_inner_runs(&mut self) {
        if !self.effects.contains(&Effect::EndInnerRuns) {
            self.effects.push(Effect::EndInnerRuns);
        }
    }

    pub(super) fn on_inner_runs_ended(&mut self) {
        if compensating(&self.next).is_none() && self.last_completed().is_none() {
            self.end_compensated();
        }
    }

    /// Ends the run with the cause of its compensation.
    fn end_compensated(&mut self) {
        let Phase::Compensating { cause, .. } = self.next.phase() else { return };
        let cause = cause.as_ref().clone();
        self.end(Err(cause));
    }

    /// Calls the agent that compensates a step.
    pub(super) fn start_compensation(&mut self, key: StepKey, attempt: u32, after: Duration) {
        let Some(compensation) = self.plan_step(&key).and_then(|step| step.compensate.as_ref()) else { return };
        let Some(run) = self.next.started().map(|started| started.run.clone()) else { return };
        self.record(Entry::StepCompensationStarted { key: key.clone(), attempt });
        match self.pinned_agent(&compensation.agent) {
            Ok(target) => {
                let call = CallKey::for_step(&run, &key.step, key.index).compensation();
                self.effects.push(Effect::Compensate { key, attempt, target, call, after });
            }
            Err(cause) => self.on_compensation_failed(key, cause, Usage::default(), 0),
        }
    }

    pub(super) fn on_compensated(&mut self, key: &StepKey, attempt: u32, cause: Option<&Cause>, usage: &Usage) {
        let Phase::Compensating { until, .. } = *self.next.phase() else { return };
        let StepStatus::Compensating { attempt: current, since, .. } = *self.next.step_status(key) else { return };
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
            self.start_compensation(key.clone(), attempt.saturating_add(1), after);
        } else {
            self.on_compensation_failed(key.clone(), cause.clone(), usage.clone(), duration_ms);
        }
    }

    /// Ends the compensation, because its timeout has passed.
    pub(super) fn on_compensation_timeout(&mut self) {
        let Phase::Compensating { until, .. } = *self.next.phase() else { return };
        if self.now < until {
            return;
        }
        let timeout_error = || Cause::new(ErrorCode::TimedOut, "the time for undoing was up");
        if let Some(key) = compensating(&self.next) {
            self.effects.push(Effect::Abort { key: key.clone() });
            self.on_compensation_failed(key, timeout_error(), Usage::default(), 0);
        }
        while let Some(key) = self.last_completed() {
            self.on_compensation_failed(key, timeout_error(), Usage::default(), 0);
        }
    }

    fn on_compensation_failed(&mut self, key: StepKey, cause: Cause, usage: Usage, duration_ms: u64) {
        self.record(Entry::StepCompensationEnded { key, cause: Some(cause), usage, duration_ms });
    }

    /// The step that completed last, of those that have a compensation and are not compensated.
    fn last_completed(&self) -> Option<StepKey> {
        let steps = self.plan.steps.iter().filter(|step| step.compensate.is_some());
        let done = steps.filter_map(|step| last_completed_of(step, self.next.step_state(&step.id)?));
        done.max_by_key(|(order, _)| *order).map(|(_, key)| key)
    }
}

/// The item of a step that completed last. Items of a failed step are not compensated, unless its `on_error` is
/// `compensate`.
fn last_completed_of(step: &PlanStep, step_state: &StepState) -> Option<(u32, StepKey)> {
    if let StepStatus::Done { order, .. } = &step_state.status {
        return Some((*order, step_key(&step.id)));
    }
    let on_error = step.for_each.as_ref().map(|each| each.on_error)?;
    let items = step_state.items.as_ref()?;
    if items.first_failed.is_some() && on_error == OnError::Fail {
        return None;
    }
    let done = items.iter().filter_map(|(index, item)| match item {
        StepStatus::Done { order, .. } => Some((*order, StepKey { step: step.id.clone(), index: Some(index) })),
        _ => None,
    });
    done.max_by_key(|(order, _)| *order)
}

/// The step that is being compensated.
pub(super) fn compensating(state: &State) -> Option<StepKey> {
    let is_compensating = |step: &StepStatus| matches!(step, StepStatus::Compensating { .. });
    state.step_states().find_map(|(step, step_state)| {
        if is_compensating(&step_state.status) {
            return Some(step_key(step));
        }
        let (index, _) = step_state.items.as_ref()?.iter().find(|(_, item)| is_compensating(item))?;
        Some(StepKey { step: step.clone(), index: Some(index) })
    })
}
