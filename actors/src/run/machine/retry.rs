//! A call that failed may be made again: if its cause allows, its step says so, the run has retries
//! left, and there is time.

use std::time::Duration;

use greenroom_protocol::Cause;
use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::reply::Usage;

use super::decide::DecisionBuilder;
use super::effect::{Effect, TimerId};
use super::state::{Phase, StepStatus};

impl DecisionBuilder<'_> {
    /// Plans another attempt; false if there is none. Whoever failed may ask for a longer wait than
    /// the step has, never for a shorter one.
    pub(super) fn retry(&mut self, key: &StepKey, attempt: u32, cause: &Cause, usage: &Usage) -> bool {
        let wait = self.planned(key).and_then(|step| step.retry.as_ref()).and_then(|retry| retry.delay_after(attempt));
        let Some(wait) = wait else { return false };
        let after = wait.max(cause.retry_after_ms.map(Duration::from_millis).unwrap_or_default());
        let at = self.now.saturating_add(after);
        let is_too_late = self.next.deadline().is_some_and(|deadline| deadline.has_passed(at));
        if !cause.code.is_retryable() || self.next.retries_remaining() == 0 || is_too_late {
            return false;
        }
        self.record(Entry::StepRetried {
            key: key.clone(),
            attempt,
            cause: cause.clone(),
            at,
            after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            usage: usage.clone(),
        });
        self.effects.push(Effect::SetTimer { timer: TimerId::Retry(key.clone()), at });
        true
    }

    /// A call below the run has tried again by itself. It is written down, so that the retries of a run
    /// that is taken up after a crash are those that it had left.
    pub(super) fn on_nested_retry(&mut self) {
        match self.next.phase() {
            Phase::Running | Phase::Compensating { .. } => self.record(Entry::NestedRetryTaken),
            Phase::New | Phase::Ended(_) => {}
        }
    }

    /// Makes the next attempt. A timer that goes off early, or twice, finds nothing to do.
    pub(super) fn retry_step(&mut self, key: &StepKey) {
        let StepStatus::Backoff { attempt, at } = *self.next.step(key) else { return };
        let Some(step) = self.planned(key) else { return };
        if self.now >= at {
            self.start(step, key.clone(), attempt.saturating_add(1));
        }
    }
}
