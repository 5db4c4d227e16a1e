//! The only writer of a run's state. An entry has the same effect at every replay, so only the entry and its time may
//! be used.

use std::sync::Arc;

use greenroom_protocol::Timestamp;
use greenroom_protocol::journal::{Entry, RunStarted, StepKey};
use greenroom_protocol::reply::Usage;

use super::COMPENSATION_TIME_MAX;
use super::state::{Items, Phase, State, StepStatus};

impl State {
    /// Applies an entry that was written at `at`.
    pub fn apply(&mut self, at: Timestamp, entry: &Entry) {
        self.last_at = at;
        match entry {
            Entry::RunStarted(started) => self.start(at, started),
            Entry::StepReady { step } => self.set_status(&step_key(step), StepStatus::Evaluating),
            Entry::ItemsExpanded { step, items, skipped } => {
                let step_state = self.step_state_mut(step);
                step_state.items = Some(Items::new(*items));
                step_state.status = StepStatus::RunningItems;
                for index in skipped {
                    self.set_status(&StepKey { step: step.clone(), index: Some(*index) }, StepStatus::Skipped);
                }
            }
            Entry::StepStarted { key, attempt, agent } => {
                if let Some(agent) = agent.as_ref().filter(|agent| !self.usage.agents.contains(agent)) {
                    self.usage.agents.push(agent.clone());
                }
                self.set_status(key, StepStatus::InFlight { attempt: *attempt, since: at });
            }
            Entry::StepDone { key, result, usage, .. } => {
                let order = self.completed_count;
                self.completed_count = self.completed_count.saturating_add(1);
                self.add_usage(usage);
                self.usage.steps = self.usage.steps.saturating_add(1);
                self.set_status(key, StepStatus::Done { order, result: Arc::new(result.clone()) });
            }
            // The context is a fold of its own (`run::context`); no decision of the machine depends on it.
            Entry::ContextChanged { .. } => {}
            Entry::StepSkipped { key } => self.set_status(key, StepStatus::Skipped),
            Entry::StepRetried { key, attempt, at: retry_at, usage, .. } => {
                self.add_usage(usage);
                self.retries_remaining = self.retries_remaining.saturating_sub(1);
                self.set_status(key, StepStatus::Backoff { attempt: *attempt, at: *retry_at });
            }
            Entry::NestedRetryTaken => self.retries_remaining = self.retries_remaining.saturating_sub(1),
            Entry::StepFailed { key, cause, usage, .. } => {
                self.add_usage(usage);
                self.set_status(key, StepStatus::Failed { cause: Arc::new(cause.clone()) });
            }
            Entry::StepCancelled { key } => self.set_status(key, StepStatus::Cancelled),
            Entry::ApprovalRequested { key, .. } => self.set_status(key, StepStatus::AwaitingApproval { since: at }),
            Entry::ApprovalResolved { key, approved, .. } => {
                if *approved {
                    self.step_state_mut(&key.step).approved = true;
                    self.set_status(key, StepStatus::Approved);
                }
            }
            Entry::CancelRequested { by } => self.cancelled_by = Some(by.clone()),
            Entry::DeadlinePassed => self.deadline_passed = true,
            Entry::RunCompensationStarted { cause, give_up_at: until } => {
                self.phase = Phase::Compensating { cause: Arc::new(cause.clone()), until: *until };
            }
            Entry::StepCompensationStarted { key, attempt } => self.start_compensation(at, key, *attempt),
            Entry::StepCompensationEnded { key, cause, usage, .. } => {
                self.add_usage(usage);
                self.set_status(
                    key,
                    if cause.is_some() { StepStatus::CompensationFailed } else { StepStatus::Compensated },
                );
            }
            Entry::RunResumed { deadline, .. } => {
                self.deadline = Some(*deadline);
                if let Phase::Compensating { until, .. } = &mut self.phase {
                    *until = at.saturating_add(COMPENSATION_TIME_MAX);
                }
            }
            Entry::RunEnded { reply } => self.phase = Phase::Ended(Arc::new(reply.as_ref().clone())),
        }
    }

    fn start(&mut self, at: Timestamp, started: &RunStarted) {
        self.phase = Phase::Running;
        self.started_at = at;
        self.deadline = Some(started.deadline);
        self.retries_remaining = started.retry_budget;
        self.started = Some(Arc::new(started.clone()));
    }

    fn start_compensation(&mut self, at: Timestamp, key: &StepKey, attempt: u32) {
        if let Some(result) = self.step_status(key).result().cloned() {
            self.set_status(key, StepStatus::Compensating { attempt, since: at, result });
        }
    }

    fn add_usage(&mut self, usage: &Usage) {
        self.usage.add(usage);
    }
}

fn step_key(step: &greenroom_protocol::StepId) -> StepKey {
    StepKey { step: step.clone(), index: None }
}
