//! The only writer of a run's state. What an entry does here it does at every replay, so nothing
//! but the entry and the moment it was written may count.

use std::sync::Arc;

use greenroom_protocol::Timestamp;
use greenroom_protocol::journal::{Begun, Entry, StepKey};
use greenroom_protocol::reply::Usage;

use super::UNDO_TIME_MAX;
use super::state::{Items, Phase, State, Step};

impl State {
    /// Takes in an entry that was written at `at`.
    pub fn apply(&mut self, at: Timestamp, entry: &Entry) {
        self.last_at = at;
        match entry {
            Entry::Begun(begun) => self.begin(at, begun),
            Entry::StepReady { step } => self.set(&whole(step), Step::Weighing),
            Entry::Expanded { step, items, skipped } => {
                let track = self.track_mut(step);
                track.items = Some(Items::new(*items));
                track.own = Step::Spread;
                for index in skipped {
                    self.set(&StepKey { step: step.clone(), index: Some(*index) }, Step::Skipped);
                }
            }
            Entry::StepStarted { key, attempt, agent } => {
                if let Some(agent) = agent.as_ref().filter(|agent| !self.usage.agents.contains(agent)) {
                    self.usage.agents.push(agent.clone());
                }
                self.set(key, Step::InFlight { attempt: *attempt, since: at });
            }
            Entry::StepDone { key, result, usage, .. } => {
                let order = self.done;
                self.done = self.done.saturating_add(1);
                self.spend(usage);
                self.usage.steps = self.usage.steps.saturating_add(1);
                self.set(key, Step::Done { order, result: Arc::new(result.clone()) });
            }
            Entry::StepSkipped { key } => self.set(key, Step::Skipped),
            Entry::StepRetried { key, attempt, at: again, usage, .. } => {
                self.spend(usage);
                self.retries_left = self.retries_left.saturating_sub(1);
                self.set(key, Step::Backoff { attempt: *attempt, at: *again });
            }
            Entry::RetryTaken => self.retries_left = self.retries_left.saturating_sub(1),
            Entry::StepFailed { key, cause, usage, .. } => {
                self.spend(usage);
                self.set(key, Step::Failed { cause: Arc::new(cause.clone()) });
            }
            Entry::StepCancelled { key } => self.set(key, Step::Cancelled),
            Entry::ApprovalAsked { key, .. } => self.set(key, Step::Asked { since: at }),
            Entry::ApprovalAnswered { key, approved, .. } => {
                if *approved {
                    self.track_mut(&key.step).granted = true;
                    self.set(key, Step::Granted);
                }
            }
            Entry::CancelAsked { by } => self.cancel = Some(by.clone()),
            Entry::DeadlinePassed => self.expired = true,
            Entry::CompensationBegun { cause, until } => {
                self.phase = Phase::Undoing { cause: Arc::new(cause.clone()), until: *until };
            }
            Entry::CompensationStarted { key, attempt } => self.undo(at, key, *attempt),
            Entry::CompensationEnded { key, cause, usage, .. } => {
                self.spend(usage);
                self.set(key, if cause.is_some() { Step::NotUndone } else { Step::Undone });
            }
            Entry::Resumed { deadline, .. } => {
                self.deadline = Some(*deadline);
                if let Phase::Undoing { until, .. } = &mut self.phase {
                    *until = at.plus(UNDO_TIME_MAX);
                }
            }
            Entry::Ended { reply } => self.phase = Phase::Ended(Arc::new(reply.as_ref().clone())),
        }
    }

    fn begin(&mut self, at: Timestamp, begun: &Begun) {
        self.phase = Phase::Running;
        self.begun_at = at;
        self.deadline = Some(begun.deadline);
        self.retries_left = begun.retries;
        self.begun = Some(Arc::new(begun.clone()));
    }

    fn undo(&mut self, at: Timestamp, key: &StepKey, attempt: u32) {
        if let Some(result) = self.step(key).result().cloned() {
            self.set(key, Step::Undoing { attempt, since: at, result });
        }
    }

    fn spend(&mut self, usage: &Usage) {
        self.usage.add(usage);
    }
}

fn whole(step: &greenroom_protocol::StepId) -> StepKey {
    StepKey { step: step.clone(), index: None }
}
