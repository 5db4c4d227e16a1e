//! Steps that wait for a value of the context or for an event. An event goes to the first step of the plan that waits for
//! its name; without such a step it is kept, and the steps that wait later consume the events in their order.

use std::time::Duration;

use greenroom_definitions::plan::WAIT_OUTPUT;
use greenroom_protocol::journal::{Entry, PendingWait, ResultRef, StepKey, WaitTarget};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::PublishedEvent;
use greenroom_protocol::{Cause, ContentHash, ErrorCode, EventId, EventName, StepId, Timestamp, UserId, Values};

use super::decide::DecisionBuilder;
use super::effect::{Effect, TimerId};
use super::scheduling::step_key;
use super::state::{Phase, State, StepStatus};

/// Checks that a run accepts an event.
///
/// # Errors
/// [`ErrorCode::RunNotActive`] if the run has ended, is ending, or has received as many events as it may;
/// [`ErrorCode::Overloaded`] if too many events wait for a step.
pub fn require_event_capacity(state: &State, name: &EventName) -> Result<(), Cause> {
    match state.phase() {
        Phase::Running => state.events.require_capacity(state.awaits_event(name)),
        Phase::New | Phase::Compensating { .. } | Phase::Ended(_) => {
            Err(Cause::new(ErrorCode::RunNotActive, "the run does not wait for events any more"))
        }
    }
}

impl State {
    /// True if an event with this id was published to the run before.
    #[must_use]
    pub fn has_received(&self, id: &EventId) -> bool {
        self.events.has(id)
    }

    /// The steps that wait for a value of the context or for an event: its own, and those of the runs that it called.
    #[must_use]
    pub fn pending_waits(&self) -> Vec<PendingWait> {
        let Some(started) = self.started().filter(|_| *self.phase() == Phase::Running) else { return Vec::new() };
        let own = self.step_states().filter_map(|(step, step_state)| match &step_state.status {
            StepStatus::AwaitingEvent { since, until, target, .. } => {
                let (run, step, target) = (started.run.clone(), step.clone(), target.as_ref().clone());
                Some(PendingWait { run, step, target, since: *since, until: *until })
            }
            _ => None,
        });
        own.chain(self.waiting_calls.values().flat_map(|waits| waits.waits.iter().cloned())).collect()
    }

    fn awaits_event(&self, name: &EventName) -> bool {
        self.step_states().any(|(_, step_state)| awaited_event(&step_state.status) == Some(name))
    }
}

/// The name of the event for which a step waits.
pub(super) fn awaited_event(status: &StepStatus) -> Option<&EventName> {
    match status {
        StepStatus::AwaitingEvent { target, .. } => match target.as_ref() {
            WaitTarget::Event(name) => Some(name),
            WaitTarget::Context(_) => None,
        },
        _ => None,
    }
}

impl DecisionBuilder<'_> {
    /// Begins an attempt to wait. An event that came before completes the step at once.
    pub(super) fn start_wait(&mut self, key: &StepKey, attempt: u32, target: &WaitTarget, timeout: Option<Duration>) {
        let until = timeout.map(|timeout| self.now.saturating_add(timeout));
        self.record(Entry::WaitStarted { key: key.clone(), attempt, target: target.clone(), until });
        if !self.deliver_event(&key.step) {
            self.set_wait_effects(key, attempt, target, until);
        }
    }

    /// Sets the timer of a wait, and observes the context.
    pub(super) fn set_wait_effects(
        &mut self,
        key: &StepKey,
        attempt: u32,
        target: &WaitTarget,
        until: Option<Timestamp>,
    ) {
        if let Some(at) = until {
            self.effects.push(Effect::SetTimer { timer: TimerId::Wait(key.step.clone()), at });
        }
        if let WaitTarget::Context(context) = target {
            self.effects.push(Effect::AwaitContext { key: key.clone(), attempt, context: context.clone() });
        }
    }

    /// Records an event, once, and completes the step that waits for it.
    pub(super) fn on_event_published(&mut self, id: &EventId, event: &PublishedEvent, by: &UserId) {
        let is_accepted = require_event_capacity(&self.next, &event.name).is_ok();
        if !is_accepted || self.next.has_received(id) {
            return;
        }
        self.record(Entry::EventReceived { id: id.clone(), event: event.clone(), by: by.clone() });
        let plan = self.plan;
        let awaiting = plan.steps.iter().find(|step| {
            awaited_event(self.next.step_status(&step_key(&step.id))).is_some_and(|name| *name == event.name)
        });
        if let Some(step) = awaiting {
            self.deliver_event(&step.id);
        }
    }

    /// Completes a step with the oldest event for which it waits; returns false if there is none.
    fn deliver_event(&mut self, step: &StepId) -> bool {
        let key = step_key(step);
        let StepStatus::AwaitingEvent { attempt, since, .. } = *self.next.step_status(&key) else { return false };
        let name = awaited_event(self.next.step_status(&key));
        let Some(event) = name.and_then(|name| self.next.events.first(name)).cloned() else { return false };
        let values = Values::from([(WAIT_OUTPUT.to_owned(), event.data.clone())]);
        let hash = ContentHash::from_content(serde_json::json!(values).to_string().as_bytes());
        let (result, duration_ms) = (ResultRef::Inline(values), self.elapsed_ms(since));
        self.record(Entry::StepDone { key, attempt, result, hash, usage: Usage::default(), duration_ms });
        true
    }

    /// Fails an attempt that has waited too long. A timer that fires early, or after the end of the wait, has no effect.
    pub(super) fn on_wait_timeout(&mut self, step: &StepId) {
        let key = step_key(step);
        let StepStatus::AwaitingEvent { attempt, since, until: Some(until), target } = self.next.step_status(&key)
        else {
            return;
        };
        let (attempt, since, until, target) = (*attempt, *since, *until, target.clone());
        if *self.next.phase() != Phase::Running || self.now < until {
            return;
        }
        if let WaitTarget::Context(_) = target.as_ref() {
            self.effects.push(Effect::Abort { key: key.clone() });
        }
        let seconds = until.saturating_duration_since(since).as_secs();
        let cause = Cause::new(ErrorCode::TimedOut, format!("{target} did not come within {seconds} s"));
        if !self.schedule_retry(&key, attempt, &cause, &Usage::default()) {
            let duration_ms = self.elapsed_ms(since);
            self.record(Entry::StepFailed { key, attempt, cause, usage: Usage::default(), duration_ms });
        }
    }
}
