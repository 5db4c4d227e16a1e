//! Steps whose agents have called tools that need an approval. The execution of the agent has ended, and the journal has
//! what it needs to continue; with the last decision the step starts again, in the same attempt. What a step recorded is
//! used by each of its later attempts too, so that no call of a tool is approved twice.

use std::sync::Arc;

use greenroom_definitions::plan::StepTarget;
use greenroom_protocol::conversation::{PendingToolCall, SuspendedCall, ToolDecision};
use greenroom_protocol::journal::{Entry, PendingApproval, RunStarted, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{Cause, StepId, Timestamp, ToolCallId};

use super::decide::DecisionBuilder;
use super::event::ToolResolution;
use super::state::{Phase, State, StepStatus};
use super::suspension::Suspension;

impl State {
    /// The last suspension of a step that has not ended; `None` if it has none.
    #[must_use]
    pub fn suspension(&self, key: &StepKey) -> Option<&Suspension> {
        self.suspended.get(key).map(Arc::as_ref)
    }

    /// True if a step, or one of its items, waits for a decision about one of these calls of tools.
    #[must_use]
    pub fn awaits_tool_decision(&self, step: &StepId, calls: &[ToolCallId]) -> bool {
        let mut suspended = self.awaiting_suspensions().filter(|(key, _)| key.step == *step);
        suspended.any(|(_, suspension)| suspension.pending().any(|pending| calls.contains(&pending.call)))
    }

    /// The steps that wait for decisions about calls of tools, as pending approvals.
    pub(super) fn pending_tool_approvals(&self, started: &RunStarted) -> Vec<PendingApproval> {
        let pending = self.awaiting_suspensions().filter_map(|(key, suspension)| match self.step_status(key) {
            StepStatus::AwaitingToolApproval { since, .. } => Some(PendingApproval {
                run: started.run.clone(),
                step: key.step.clone(),
                index: key.index,
                since: *since,
                until: None,
                calls: suspension.pending().cloned().collect(),
            }),
            _ => None,
        });
        pending.collect()
    }

    fn awaiting_suspensions(&self) -> impl Iterator<Item = (&StepKey, &Suspension)> {
        let waits = |key: &StepKey| matches!(self.step_status(key), StepStatus::AwaitingToolApproval { .. });
        self.suspended.iter().filter(move |entry| waits(entry.0)).map(|(key, suspension)| (key, suspension.as_ref()))
    }

    /// Applies an entry about calls of tools that need an approval; any other one has no effect here.
    pub(super) fn apply_tool_approval(&mut self, at: Timestamp, entry: &Entry) {
        if let Entry::ToolApprovalRequested { key, attempt, suspended, usage } = entry {
            self.usage.add(usage);
            self.set_status(key, StepStatus::AwaitingToolApproval { attempt: *attempt, since: at });
            let number = self.suspension(key).map_or(0, Suspension::number).saturating_add(1);
            self.suspended.insert(key.clone(), Arc::new(Suspension::new(suspended.clone(), number)));
        }
        if let Entry::ToolApprovalResolved { key, calls, approved, by, reason, remaining: _ } = entry
            && let Some(suspension) = self.suspended.get_mut(key)
        {
            let decision = |call: &ToolCallId| {
                let (call, approved, by, reason) = (call.clone(), *approved, by.clone(), reason.clone());
                ToolDecision { call, approved, by, reason }
            };
            Arc::make_mut(suspension).add_decisions(calls.iter().map(decision));
        }
    }
}

impl DecisionBuilder<'_> {
    /// Records that the agent of a step waits for approvals; returns false for any other cause.
    pub(super) fn suspend(&mut self, key: &StepKey, attempt: u32, cause: &Cause, usage: &Usage) -> bool {
        let calls_agent = self.plan_step(key).is_some_and(|step| matches!(step.target, StepTarget::Agent(_)));
        let suspended = SuspendedCall::from_cause(cause).filter(|suspended| calls_agent && !suspended.calls.is_empty());
        let Some(suspended) = suspended else { return false };
        self.record(Entry::ToolApprovalRequested { key: key.clone(), attempt, suspended, usage: usage.clone() });
        true
    }

    /// Records the decision of a user. A step about whose calls everything is decided continues.
    pub(super) fn on_tool_calls_resolved(&mut self, resolution: &ToolResolution) {
        if *self.next.phase() != Phase::Running {
            return;
        }
        let ToolResolution { step, calls, approved, by, reason } = resolution;
        let is_named = |pending: &&PendingToolCall| calls.contains(&pending.call);
        let suspended = self.next.awaiting_suspensions().filter(|(key, _)| key.step == *step);
        let resolved = suspended.filter_map(|(key, suspension)| {
            let calls: Vec<ToolCallId> =
                suspension.pending().filter(is_named).map(|pending| pending.call.clone()).collect();
            let remaining = suspension.pending().count().saturating_sub(calls.len());
            (!calls.is_empty()).then(|| (key.clone(), calls, u32::try_from(remaining).unwrap_or(u32::MAX)))
        });
        let resolved: Vec<_> = resolved.collect();
        for (key, calls, remaining) in resolved {
            let (approved, by, reason) = (*approved, by.clone(), reason.clone());
            self.record(Entry::ToolApprovalResolved { key: key.clone(), calls, approved, by, reason, remaining });
            self.continue_suspended(key);
        }
    }

    /// Starts a step again about whose calls everything is decided.
    pub(super) fn continue_suspended(&mut self, key: StepKey) {
        let StepStatus::AwaitingToolApproval { attempt, .. } = *self.next.step_status(&key) else { return };
        let is_decided = self.next.suspension(&key).is_some_and(|suspension| suspension.pending().next().is_none());
        if let Some(step) = self.plan_step(&key).filter(|_| is_decided) {
            self.start_step(step, key, attempt);
        }
    }
}
