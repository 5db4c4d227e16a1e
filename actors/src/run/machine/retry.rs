//! Retries of a failed call: if its cause is retryable, its step has a retry policy, the run has remaining retries,
//! and the deadline allows it.

use std::time::Duration;

use greenroom_protocol::Cause;
use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::reply::Usage;

use super::decide::DecisionBuilder;
use super::effect::{Effect, TimerId};
use super::state::{Phase, StepStatus};

impl DecisionBuilder<'_> {
    /// Schedules another attempt; returns false if there is none. The cause may demand a longer delay than the step,
    /// never a shorter one.
    pub(super) fn schedule_retry(&mut self, key: &StepKey, attempt: u32, cause: &Cause, usage: &Usage) -> bool {
        let delay =
            self.plan_step(key).and_then(|step| step.retry.as_ref()).and_then(|retry| retry.delay_after(attempt));
        let Some(delay) = delay else { return false };
        let after = delay.max(cause.retry_after_ms.map(Duration::from_millis).unwrap_or_default());
        let at = self.now.saturating_add(after);
        // The time that the run has left does not pass while it only waits.
        let exceeds_own = self.next.time_left(self.now).is_some_and(|left| left <= after);
        let exceeds_request = self.next.request_deadline().is_some_and(|deadline| deadline.has_passed(at));
        if !cause.code.is_retryable() || self.next.retries_remaining() == 0 || exceeds_own || exceeds_request {
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

    /// Records the retry of a nested call, so that a run that is resumed after a crash has the correct number of
    /// remaining retries.
    pub(super) fn on_nested_retry(&mut self) {
        match self.next.phase() {
            Phase::Running | Phase::Compensating { .. } => self.record(Entry::NestedRetryTaken),
            Phase::New | Phase::Ended(_) => {}
        }
    }

    /// Starts the next attempt. A timer that fires early, or twice, has no effect.
    pub(super) fn retry_step(&mut self, key: &StepKey) {
        let StepStatus::Backoff { attempt, at } = *self.next.step_status(key) else { return };
        let Some(step) = self.plan_step(key) else { return };
        if self.now >= at {
            self.start_step(step, key.clone(), attempt.saturating_add(1));
        }
    }
}
