//! The only writer of a run's state. An entry has the same effect at every replay, so only the entry and its time may
//! be used.

use std::sync::Arc;

use greenroom_protocol::journal::{Entry, ItemList, ResultRef, RunStarted, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{Deadline, EventId, Reply, StepId, Timestamp};

use super::counts::CallWaits;
use super::state::{Items, Phase, State, StepStatus};
use super::wait::awaited_event;

impl State {
    /// Applies an entry that was written at `at`.
    pub fn apply(&mut self, at: Timestamp, entry: &Entry) {
        if matches!(entry, Entry::RunGivenUp { .. } | Entry::RunReopened { .. }) {
            // The run does what it did, and the time in which it was dead is a pause as any other without an owner.
            return;
        }
        let before = std::mem::replace(&mut self.last_at, at);
        self.apply_entry(at, before, entry);
        self.update_pause(at);
    }

    /// Applies an entry that was written at `at`, after one that was written at `before`.
    fn apply_entry(&mut self, at: Timestamp, before: Timestamp, entry: &Entry) {
        match entry {
            Entry::RunStarted(started) => self.start(at, started),
            Entry::StepReady { step } => self.set_status(&step_key(step), StepStatus::Evaluating),
            Entry::ItemsExpanded { step, items, skipped, list } => self.expand(step, *items, skipped, list.as_ref()),
            Entry::StepStarted { key, attempt, agent } => {
                match agent {
                    Some(agent) if self.usage.agents.contains(agent) => {}
                    Some(agent) => self.usage.agents.push(agent.clone()),
                    // A step that calls no agent calls a run.
                    None => self.step_state_mut(&key.step).calls_run = true,
                }
                self.set_status(key, StepStatus::InFlight { attempt: *attempt, since: at });
            }
            Entry::StepDone { key, result, usage, .. } => self.complete(key, result, usage),
            // The context is a fold of its own (`run::context`); no decision of the machine depends on its values.
            Entry::ContextChanged { id, request, .. } => self.add_write(id.as_ref(), request.as_ref()),
            Entry::RunGivenUp { .. } | Entry::RunReopened { .. } => {}
            Entry::StepSkipped { key, .. } => self.set_status(key, StepStatus::Skipped),
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
            Entry::ApprovalRequested { key, until, .. } => {
                self.set_status(key, StepStatus::AwaitingApproval { since: at, until: *until });
            }
            Entry::CallAwaitsApproval { key, approvals, waits, idle, retry_at } => {
                let (approvals, waits) = (approvals.clone(), waits.clone());
                let waits = CallWaits { approvals, waits, idle: *idle, retry_at: *retry_at };
                self.set_call_waits(key, waits);
            }
            Entry::ToolApprovalRequested { .. } | Entry::ToolApprovalResolved { .. } => {
                self.apply_tool_approval(at, entry);
            }
            Entry::WaitStarted { key, attempt, target, until } => {
                let (attempt, until, target) = (*attempt, *until, Arc::new(target.clone()));
                self.set_status(key, StepStatus::AwaitingEvent { attempt, since: at, until, target });
            }
            Entry::EventReceived { id, event, .. } => Arc::make_mut(&mut self.events).add(id, event),
            Entry::ApprovalResolved { key, approved, .. } => {
                if *approved {
                    self.step_state_mut(&key.step).approved = true;
                    self.set_status(key, StepStatus::Approved);
                }
            }
            Entry::CancelRequested { by } => self.cancelled_by = Some(by.clone()),
            Entry::DeadlinePassed => self.deadline_passed = true,
            Entry::RunCompensationStarted { cause, give_up_at: until } => {
                let timeout = until.saturating_duration_since(at);
                self.phase = Phase::Compensating { cause: Arc::new(cause.clone()), until: *until, timeout };
            }
            Entry::StepCompensationStarted { key, attempt } => self.start_compensation(at, key, *attempt),
            Entry::StepCompensationEnded { key, cause, usage, .. } => {
                self.add_usage(usage);
                self.set_status(
                    key,
                    if cause.is_some() { StepStatus::CompensationFailed } else { StepStatus::Compensated },
                );
            }
            Entry::RunResumed { deadline, .. } => self.resume(at, before, *deadline),
            Entry::RunEnded { reply } => self.phase = Phase::Ended(Arc::new(reply.as_ref().clone())),
        }
    }

    /// Replaces the reply of a run that has ended, before its end is durable.
    pub(super) fn replace_reply(&mut self, reply: &Reply) {
        if let Phase::Ended(ended) = &mut self.phase {
            *ended = Arc::new(reply.clone());
        }
    }

    fn start(&mut self, at: Timestamp, started: &RunStarted) {
        self.phase = Phase::Running;
        self.started_at = at;
        self.deadline = Some(started.deadline);
        self.request_deadline = started.request_deadline;
        self.retries_remaining = started.retry_budget;
        self.started = Some(Arc::new(started.clone()));
    }

    /// The end of a step that waits for an event consumes the oldest one of its name.
    fn complete(&mut self, key: &StepKey, result: &ResultRef, usage: &Usage) {
        let order = self.completed_count;
        self.completed_count = self.completed_count.saturating_add(1);
        if let Some(name) = awaited_event(self.step_status(key)).cloned() {
            Arc::make_mut(&mut self.events).consume(&name);
        }
        self.add_usage(usage);
        self.usage.steps = self.usage.steps.saturating_add(1);
        self.set_status(key, StepStatus::Done { order, result: Arc::new(result.clone()) });
    }

    fn expand(&mut self, step: &StepId, count: u32, skipped: &[u32], list: Option<&ItemList>) {
        // Neither is called, so only the status of the step itself changes the counts.
        self.set_status(&step_key(step), StepStatus::RunningItems);
        self.step_state_mut(step).items = Some(Items::new(count, list.cloned()));
        for index in skipped {
            self.set_status(&StepKey { step: step.clone(), index: Some(*index) }, StepStatus::Skipped);
        }
    }

    /// The time without an owner does not count. The runs that this one called report again what they wait for.
    fn resume(&mut self, at: Timestamp, before: Timestamp, deadline: Deadline) {
        // The deadline has moved by that time, unless the run only waits: then it moves when the run continues.
        let pause = match self.deadline.filter(|_| !self.is_paused()) {
            Some(known) => deadline.0.saturating_duration_since(known.0),
            None => at.saturating_duration_since(before),
        };
        self.deadline = Some(deadline);
        self.request_deadline = self.request_deadline.map(|deadline| Deadline(deadline.0.saturating_add(pause)));
        self.waiting_calls.clear();
        if let Phase::Compensating { until, timeout, .. } = &mut self.phase {
            *until = at.saturating_add(*timeout);
        }
    }

    fn start_compensation(&mut self, at: Timestamp, key: &StepKey, attempt: u32) {
        if let Some(result) = self.step_status(key).result().cloned() {
            self.set_status(key, StepStatus::Compensating { attempt, since: at, result });
        }
    }

    /// The id of a write that another pod has sent.
    fn add_write(&mut self, id: Option<&EventId>, request: Option<&EventId>) {
        if let Some(id) = id {
            Arc::make_mut(&mut self.writes).insert(id.clone());
        }
        if let Some(request) = request {
            Arc::make_mut(&mut self.handler_writes).insert(request.clone());
        }
    }

    fn add_usage(&mut self, usage: &Usage) {
        self.usage.add(usage);
    }
}

fn step_key(step: &StepId) -> StepKey {
    StepKey { step: step.clone(), index: None }
}
