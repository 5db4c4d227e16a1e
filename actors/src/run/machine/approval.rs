//! Approval of a step. Policy decides who may approve; this file only checks whether the step awaits approval.

use greenroom_definitions::plan::PlanStep;
use greenroom_protocol::journal::{Entry, PendingApproval, StepKey};
use greenroom_protocol::{Cause, ErrorCode, StepId, Timestamp, ToolCallId, UserId};

use super::counts::CallWaits;
use super::decide::DecisionBuilder;
use super::effect::{Effect, TimerId};
use super::scheduling::step_key;
use super::state::{Phase, State, StepStatus};

/// Steps and calls that the message of a refused approval names; `details` has all of them.
const PENDING_NAMED_MAX: usize = 5;

/// Checks that a step waits for a decision about one of these calls of tools; without any, that it awaits approval before
/// it starts. A decision that names no call is about none: by the time at which it is read, the step may wait for a call
/// that the person who decides has not seen.
///
/// # Errors
/// [`ErrorCode::RunNotActive`] if the run no longer accepts approvals; [`ErrorCode::UnknownStep`] if nothing of that waits.
/// The cause names what waits instead, also in a run that this one called.
pub fn require_awaiting_approval(state: &State, step: &StepId, calls: &[ToolCallId]) -> Result<(), Cause> {
    match state.phase() {
        Phase::Running if calls.is_empty() && is_awaiting_approval(state, step) => Ok(()),
        Phase::Running if state.awaits_tool_decision(step, calls) => Ok(()),
        Phase::Running => Err(not_awaiting(state, step, calls)),
        Phase::New | Phase::Compensating { .. } | Phase::Ended(_) => {
            Err(Cause::new(ErrorCode::RunNotActive, "the run does not wait for a person any more"))
        }
    }
}

/// True if a step awaits approval before it starts.
fn is_awaiting_approval(state: &State, step: &StepId) -> bool {
    matches!(state.step_status(&step_key(step)), StepStatus::AwaitingApproval { .. })
}

fn not_awaiting(state: &State, step: &StepId, calls: &[ToolCallId]) -> Cause {
    let pending = state.pending_approvals();
    let is_own = |approval: &PendingApproval| state.started().is_some_and(|started| started.run == approval.run);
    let waits_for_calls =
        pending.iter().any(|approval| is_own(approval) && approval.step == *step && !approval.calls.is_empty());
    let message = match calls {
        [] if waits_for_calls => {
            format!("the step `{step}` waits for decisions about calls of tools, and a decision names the call")
        }
        [] => format!("the run has no step `{step}` that waits for a person"),
        [call] => format!("no call `{call}` of the step `{step}` waits for a person"),
        [_, ..] => format!("none of the {} calls of the step `{step}` waits for a person any more", calls.len()),
    };
    if pending.is_empty() {
        return Cause::new(ErrorCode::UnknownStep, message);
    }
    let targets: Vec<String> = pending.iter().flat_map(targets).take(PENDING_NAMED_MAX).collect();
    Cause::new(ErrorCode::UnknownStep, format!("{message}; these wait: {}", targets.join(", ")))
        .with_details(serde_json::json!({ "pending_approvals": pending }))
}

/// What a decision about a pending approval names: the step, or each of the calls for which it waits.
fn targets(approval: &PendingApproval) -> Vec<String> {
    let PendingApproval { run, step, calls, .. } = approval;
    match calls.as_slice() {
        [] => vec![format!("`{step}` of {run}")],
        calls => calls.iter().map(|pending| format!("`{step}/{}` of {run}", pending.call)).collect(),
    }
}

impl DecisionBuilder<'_> {
    /// Requests an approval; a timer ends the wait, if it has a limit.
    pub(super) fn request_approval(&mut self, step: &PlanStep, prompt: String) {
        let until = step.approval_timeout.map(|timeout| self.now.saturating_add(timeout));
        self.record(Entry::ApprovalRequested { key: step_key(&step.id), prompt, until });
        self.set_approval_timer(&step.id, until);
    }

    pub(super) fn set_approval_timer(&mut self, step: &StepId, until: Option<Timestamp>) {
        if let Some(at) = until {
            self.effects.push(Effect::SetTimer { timer: TimerId::Approval(step.clone()), at });
        }
    }

    /// Fails a step that has waited too long. A timer that fires early, or after the approval, has no effect.
    pub(super) fn on_approval_timeout(&mut self, step: &StepId) {
        let StepStatus::AwaitingApproval { since, until: Some(until) } = *self.next.step_status(&step_key(step)) else {
            return;
        };
        if *self.next.phase() == Phase::Running && self.now >= until {
            let seconds = until.saturating_duration_since(since).as_secs();
            let message = format!("nobody approved or rejected it within {seconds} s");
            self.fail_unstarted(step_key(step), Cause::new(ErrorCode::TimedOut, message));
        }
    }

    /// Records what the run that a step called waits for, if that changed.
    pub(super) fn on_call_waits(&mut self, key: &StepKey, waits: &CallWaits) {
        let is_running = *self.next.phase() == Phase::Running;
        let is_in_flight = matches!(self.next.step_status(key), StepStatus::InFlight { .. });
        let is_same = match self.next.call_waits(key) {
            Some(known) => known == waits,
            None => waits.is_empty(),
        };
        if is_running && is_in_flight && !is_same {
            let CallWaits { approvals, waits, idle, retry_at } = waits.clone();
            self.record(Entry::CallAwaitsApproval { key: key.clone(), approvals, waits, idle, retry_at });
        }
    }

    pub(super) fn on_approved(&mut self, step: &StepId, by: &UserId) {
        if self.awaits_approval(step) {
            self.record(Entry::ApprovalResolved { key: step_key(step), approved: true, by: by.clone() });
        }
    }

    /// True if a running run has a step that awaits approval before it starts.
    fn awaits_approval(&self, step: &StepId) -> bool {
        *self.next.phase() == Phase::Running && is_awaiting_approval(&self.next, step)
    }

    pub(super) fn on_rejected(&mut self, step: &StepId, by: &UserId, reason: Option<&str>) {
        if !self.awaits_approval(step) {
            return;
        }
        self.record(Entry::ApprovalResolved { key: step_key(step), approved: false, by: by.clone() });
        let details = match reason {
            Some(reason) => serde_json::json!({ "by": by, "reason": reason }),
            None => serde_json::json!({ "by": by }),
        };
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let cause = Cause::new(ErrorCode::ApprovalRejected, format!("{by} rejected it{reason}")).with_details(details);
        self.fail_unstarted(step_key(step), cause);
    }
}
