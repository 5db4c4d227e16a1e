//! From an event to what is journalled and then done. This file only dispatches: each verb has its
//! own, and [`Draft::advance`] is what they have in common.

use greenroom_definitions::plan::{Plan, PlanStep};
use greenroom_protocol::Timestamp;
use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_registry::journal::Receipt;

use super::effect::{Effect, TimerId};
use super::event::{CallResult, Event};
use super::state::{Phase, State};

/// What is journalled, and what is done once it is.
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use = "a decision that is not journalled was never made"]
pub struct Decision {
    entries: Vec<Entry>,
    effects: Vec<Effect>,
    next: State,
}

impl Decision {
    /// What is journalled; nothing is done where this is empty, but for what was asked already.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// True if the event changes nothing, such as an answer that came too late.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The run as it is once the entries are durable.
    #[must_use]
    pub const fn next(&self) -> &State {
        &self.next
    }

    /// The calls among the effects, taken out: they may be recorded and judged while the entries are
    /// being written. Whoever makes them lets each of their acts wait for the receipt.
    pub fn take_calls(&mut self) -> Vec<Effect> {
        self.effects.extract_if(.., |effect| matches!(effect, Effect::Call { .. })).collect()
    }

    /// True if nothing is left to do but to put the outputs together.
    #[must_use]
    pub fn collects_outputs(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::CollectOutputs))
    }

    /// This decision and the one that follows from the outputs, journalled as one.
    pub fn merge(mut self, next: Self) -> Self {
        self.effects.retain(|effect| !matches!(effect, Effect::CollectOutputs));
        self.effects.extend(next.effects);
        self.entries.extend(next.entries);
        self.next = next.next;
        self
    }

    /// What the run is and what is done now, since the receipt proves that the entries are durable.
    #[must_use]
    pub fn release(self, _receipt: &Receipt) -> (State, Vec<Effect>) {
        (self.next, self.effects)
    }

    /// The effects as they will be released, for tests of what is decided.
    #[cfg(test)]
    pub(super) fn effects(&self) -> &[Effect] {
        &self.effects
    }
}

/// What follows from an event; touches nothing.
pub fn decide(state: &State, plan: &Plan, event: &Event, now: Timestamp) -> Decision {
    let mut draft = DecisionBuilder::new(state, plan, now);
    match event {
        Event::Started(begun) => draft.begin(begun),
        Event::Resumed { definitions_changed, deadline } => draft.resume(*definitions_changed, *deadline),
        Event::StepEvaluated { step, weight } => draft.weighed(step, weight),
        Event::CallCompleted { key, attempt, answer } => draft.answered(key, *attempt, answer),
        Event::Compensated { key, attempt, cause, usage } => draft.on_compensated(key, *attempt, cause.as_ref(), usage),
        Event::RetryTaken => draft.on_nested_retry(),
        Event::TimerFired { timer } => draft.woke(timer),
        Event::Approved { step, by } => draft.approved(step, by),
        Event::Rejected { step, by } => draft.rejected(step, by),
        Event::CancelRequested { by } => draft.on_cancel_requested(by),
        Event::Terminated { cause } => draft.lost(cause),
        Event::OutputsCollected { outputs } => draft.gathered(outputs),
    }
    draft.advance();
    Decision { entries: draft.entries, effects: draft.effects, next: draft.next }
}

/// A decision while it is made: the state as it will be, entry by entry.
pub(super) struct DecisionBuilder<'a> {
    pub(super) plan: &'a Plan,
    pub(super) now: Timestamp,
    pub(super) next: State,
    pub(super) effects: Vec<Effect>,
    /// True if the outputs are being put together already.
    pub(super) gathering: bool,
    entries: Vec<Entry>,
}

impl<'a> DecisionBuilder<'a> {
    fn new(state: &State, plan: &'a Plan, now: Timestamp) -> Self {
        let gathering = *state.phase() == Phase::Running && all_finished(state, plan);
        Self { plan, now, next: state.clone(), effects: Vec::new(), gathering, entries: Vec::new() }
    }

    /// Journals an entry; what is decided after it sees what it changed.
    pub(super) fn record(&mut self, entry: Entry) {
        self.next.apply(self.now, &entry);
        self.entries.push(entry);
    }

    /// The plan's step; a key that the plan does not know is of another workflow, and means nothing.
    pub(super) fn planned(&self, key: &StepKey) -> Option<&'a PlanStep> {
        self.plan.step(&key.step)
    }

    /// Milliseconds since an attempt began.
    pub(super) fn elapsed_ms(&self, since: Timestamp) -> u64 {
        u64::try_from(self.now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX)
    }

    fn begin(&mut self, begun: &greenroom_protocol::journal::RunStarted) {
        if *self.next.phase() != Phase::New {
            return;
        }
        self.record(Entry::RunStarted(Box::new(begun.clone())));
        self.effects.push(Effect::SetTimer { timer: TimerId::Deadline, at: begun.deadline.0 });
    }

    fn answered(&mut self, key: &StepKey, attempt: u32, answer: &CallResult) {
        let Some(since) = self.in_flight_since(key, attempt) else { return };
        let duration_ms = self.elapsed_ms(since);
        match answer {
            CallResult::Completed { result, hash, usage } => self.record(Entry::StepDone {
                key: key.clone(),
                attempt,
                result: result.clone(),
                hash: *hash,
                usage: usage.clone(),
                duration_ms,
            }),
            CallResult::Failed { cause, usage } => {
                if !self.retry(key, attempt, cause, usage) {
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

    fn woke(&mut self, timer: &TimerId) {
        match timer {
            TimerId::Deadline => self.deadline_passed(),
            TimerId::Retry(key) => self.retry_step(key),
            TimerId::Undo => self.stop_undoing(),
        }
    }

    /// What every event may lead to: the next steps, the stop, the next undoing, the end.
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
                if !self.gathering && all_finished(&self.next, self.plan) {
                    self.effects.push(Effect::CollectOutputs);
                }
            }
        }
    }
}

/// True if every step of the plan has ended.
fn all_finished(state: &State, plan: &Plan) -> bool {
    plan.steps.iter().all(|step| state.track(&step.id).is_some_and(super::StepState::is_finished))
}
