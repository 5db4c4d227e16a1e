//! Decides the entries and effects that follow from an event. This file only dispatches: each verb has its own file,
//! and all of them end in [`DecisionBuilder::advance`].

use greenroom_definitions::plan::{Plan, PlanStep};
use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::request::ContextChange;
use greenroom_protocol::{ContextKey, EventId, Reply, Timestamp};
use greenroom_registry::journal::Receipt;

use super::effect::{Effect, TimerId};
use super::event::{CallResult, Event};
use super::state::{Phase, State};

/// The entries to journal, and the effects that are released once they are durable.
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use = "a decision that is not journalled was never made"]
pub struct Decision {
    entries: Vec<Entry>,
    effects: Vec<Effect>,
    next: State,
}

impl Decision {
    /// The entries to journal. If there are none, no effect is released.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// True if the event changes nothing, such as the result of an outdated attempt.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The state of the run once the entries are durable.
    #[must_use]
    pub const fn next(&self) -> &State {
        &self.next
    }

    /// Removes and returns the calls among the effects: they may be audited and authorized while the append is in
    /// flight. The caller must delay their execution until the receipt.
    pub fn take_calls(&mut self) -> Vec<Effect> {
        self.effects.extract_if(.., |effect| matches!(effect, Effect::Call { .. })).collect()
    }

    /// As [`Decision::take_calls`], for the first calls of this kind, and at most so many. The others are released.
    pub(in crate::run) fn take_first_calls(&mut self, count: usize, is_taken: impl Fn(&Effect) -> bool) -> Vec<Effect> {
        self.effects.extract_if(.., |effect| is_taken(effect)).take(count).collect()
    }

    /// The reply, if the decision ends the run.
    pub(in crate::run) fn reply_mut(&mut self) -> Option<&mut Reply> {
        self.entries.iter_mut().rev().find_map(|entry| match entry {
            Entry::RunEnded { reply } => Some(&mut **reply),
            _ => None,
        })
    }

    /// Applies the change of the reply to the next state and to the effects.
    pub(in crate::run) fn replace_reply(&mut self, ended: &Reply) {
        self.next.replace_reply(ended);
        for effect in &mut self.effects {
            if let Effect::Finish { reply } = effect {
                **reply = ended.clone();
            }
        }
    }

    /// Removes and returns the steps whose effects in flight are aborted.
    pub(in crate::run) fn take_aborts(&mut self) -> Vec<StepKey> {
        let is_abort = |effect: &mut Effect| matches!(effect, Effect::Abort { .. });
        let keys = self.effects.extract_if(.., is_abort).filter_map(|effect| match effect {
            Effect::Abort { key } => Some(key),
            _ => None,
        });
        keys.collect()
    }

    /// True if only the collection of the outputs remains.
    #[must_use]
    pub fn collects_outputs(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::CollectOutputs))
    }

    /// Merges this decision with the one that follows from the outputs, for one append.
    pub fn merge(mut self, next: Self) -> Self {
        self.effects.retain(|effect| !matches!(effect, Effect::CollectOutputs));
        self.effects.extend(next.effects);
        self.entries.extend(next.entries);
        self.next = next.next;
        self
    }

    /// Releases the state and the effects, because the receipt proves that the entries are durable.
    #[must_use]
    pub fn release(self, _receipt: &Receipt) -> (State, Vec<Effect>) {
        (self.next, self.effects)
    }

    /// The effects, for tests of decisions.
    #[cfg(test)]
    pub(super) fn effects(&self) -> &[Effect] {
        &self.effects
    }
}

/// Decides what follows from an event, without side effects.
pub fn decide(state: &State, plan: &Plan, event: &Event, now: Timestamp) -> Decision {
    let mut builder = DecisionBuilder::new(state, plan, now);
    match event {
        Event::Started(started) => builder.on_started(started),
        Event::Resumed { definitions_changed, deadline } => builder.on_resumed(*definitions_changed, *deadline),
        Event::StepEvaluated { step, evaluation } => builder.on_step_evaluated(step, evaluation),
        Event::CallCompleted { key, attempt, result } => builder.on_call_completed(key, *attempt, result),
        Event::Compensated { key, attempt, cause, usage } => {
            builder.on_compensated(key, *attempt, cause.as_ref(), usage)
        }
        Event::ContextWritten { key, change, until, id, request } => {
            builder.on_context_written(key, change, *until, id.as_ref(), request.as_ref())
        }
        Event::RetryTaken => builder.on_nested_retry(),
        Event::TimerFired { timer } => builder.on_timer_fired(timer),
        Event::CallWaits { key, waits } => builder.on_call_waits(key, waits),
        Event::EventPublished { id, event, by } => builder.on_event_published(id, event, by),
        Event::Approved { step, by } => builder.on_approved(step, by),
        Event::Rejected { step, by, reason } => builder.on_rejected(step, by, reason.as_deref()),
        Event::ToolCallsResolved(resolution) => builder.on_tool_calls_resolved(resolution),
        Event::CancelRequested { by } => builder.on_cancel_requested(by),
        Event::Terminated { cause } => builder.on_terminated(cause),
        Event::InnerRunsEnded => builder.on_inner_runs_ended(),
        Event::OutputsCollected { outputs } => builder.on_outputs_collected(outputs),
    }
    builder.advance();
    builder.reset_deadline_timer(state);
    Decision { entries: builder.entries, effects: builder.effects, next: builder.next }
}

/// A decision under construction: the next state, entry by entry.
pub(super) struct DecisionBuilder<'a> {
    pub(super) plan: &'a Plan,
    pub(super) now: Timestamp,
    pub(super) next: State,
    pub(super) effects: Vec<Effect>,
    /// True if the outputs are being collected already.
    pub(super) collecting_outputs: bool,
    entries: Vec<Entry>,
}

impl<'a> DecisionBuilder<'a> {
    fn new(state: &State, plan: &'a Plan, now: Timestamp) -> Self {
        let collecting_outputs = *state.phase() == Phase::Running && all_finished(state, plan);
        Self { plan, now, next: state.clone(), effects: Vec::new(), collecting_outputs, entries: Vec::new() }
    }

    /// Records an entry and applies it, so that later decisions see its change.
    pub(super) fn record(&mut self, entry: Entry) {
        self.next.apply(self.now, &entry);
        self.entries.push(entry);
    }

    /// The step of the plan; a key that is not in the plan belongs to another workflow and is ignored.
    pub(super) fn plan_step(&self, key: &StepKey) -> Option<&'a PlanStep> {
        self.plan.step(&key.step)
    }

    /// Milliseconds since an attempt started.
    pub(super) fn elapsed_ms(&self, since: Timestamp) -> u64 {
        u64::try_from(self.now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX)
    }

    fn on_started(&mut self, started: &greenroom_protocol::journal::RunStarted) {
        if *self.next.phase() != Phase::New {
            return;
        }
        self.record(Entry::RunStarted(Box::new(started.clone())));
        self.set_deadline_timers();
    }

    /// Sets the timers of the deadlines.
    pub(super) fn set_deadline_timers(&mut self) {
        let own = self.next.deadline().map(|deadline| (TimerId::Deadline, deadline));
        let request = self.next.request_deadline().map(|deadline| (TimerId::RequestDeadline, deadline));
        let timers = own.into_iter().chain(request);
        self.effects.extend(timers.map(|(timer, deadline)| Effect::SetTimer { timer, at: deadline.0 }));
    }

    /// Sets the timer of the deadline again after a pause, which moved the deadline.
    fn reset_deadline_timer(&mut self, before: &State) {
        let (Some(before), Some(deadline)) = (before.deadline(), self.next.deadline()) else { return };
        let is_set = |effect: &Effect| matches!(effect, Effect::SetTimer { timer: TimerId::Deadline, .. });
        if *self.next.phase() == Phase::Running && before != deadline && !self.effects.iter().any(is_set) {
            self.effects.push(Effect::SetTimer { timer: TimerId::Deadline, at: deadline.0 });
        }
    }

    fn on_call_completed(&mut self, key: &StepKey, attempt: u32, result: &CallResult) {
        let Some(since) = self.in_flight_since(key, attempt) else { return };
        let duration_ms = self.elapsed_ms(since);
        match result {
            CallResult::Completed { result, hash, usage, provided } => {
                for (key, value) in provided {
                    self.on_context_written(key, &ContextChange::Put(value.clone()), None, None, None);
                }
                self.record(Entry::StepDone {
                    key: key.clone(),
                    attempt,
                    result: result.clone(),
                    hash: *hash,
                    usage: usage.clone(),
                    duration_ms,
                });
            }
            CallResult::Failed { cause, usage } => {
                if !self.suspend(key, attempt, cause, usage) && !self.schedule_retry(key, attempt, cause, usage) {
                    self.record(Entry::StepFailed {
                        key: key.clone(),
                        attempt,
                        cause: cause.clone(),
                        usage: usage.clone(),
                        duration_ms,
                    });
                }
            }
        }
    }

    /// Records a change of the context, one that was sent by another pod once. A run that has ended has none.
    fn on_context_written(
        &mut self,
        key: &ContextKey,
        change: &ContextChange,
        until: Option<Timestamp>,
        id: Option<&EventId>,
        request: Option<&EventId>,
    ) {
        match self.next.phase() {
            Phase::New | Phase::Ended(_) => {}
            Phase::Running | Phase::Compensating { .. } => {
                if !id.is_some_and(|id| self.next.has_written(id)) {
                    let (key, change, id, request) = (key.clone(), change.clone(), id.cloned(), request.cloned());
                    self.record(Entry::ContextChanged { key, change, until, id, request });
                }
            }
        }
    }

    fn on_timer_fired(&mut self, timer: &TimerId) {
        match timer {
            TimerId::Deadline | TimerId::RequestDeadline => self.on_deadline(),
            TimerId::Approval(step) => self.on_approval_timeout(step),
            TimerId::Wait(step) => self.on_wait_timeout(step),
            TimerId::Retry(key) => self.retry_step(key),
            TimerId::Compensation => self.on_compensation_timeout(),
        }
    }

    /// Continues after any event: starts ready steps, stops the run, compensates the next step, or ends the run.
    fn advance(&mut self) {
        match self.next.phase() {
            Phase::New | Phase::Ended(_) => {}
            Phase::Compensating { .. } => self.compensate_next(),
            Phase::Running => {
                if let Some(cause) = self.stop_cause() {
                    return self.stop(cause);
                }
                self.start_ready_steps();
                if let Some(cause) = self.stop_cause() {
                    return self.stop(cause);
                }
                if !self.collecting_outputs && all_finished(&self.next, self.plan) {
                    self.effects.push(Effect::CollectOutputs);
                }
            }
        }
    }
}

/// True if every step of the plan has ended.
fn all_finished(state: &State, plan: &Plan) -> bool {
    plan.steps.iter().all(|step| state.step_state(&step.id).is_some_and(super::StepState::is_finished))
}
