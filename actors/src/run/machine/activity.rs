//! What a run does at present: what is in flight, what it waits for, and whether its time passes.
//!
//! The time of a run does not pass while it only waits for approvals and events, its own or those of the runs that it
//! called: its deadline moves by as much as it waited. The deadline of the request that waits for the run does not move.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::journal::{PendingApproval, StepKey};
use greenroom_protocol::{Deadline, Timestamp};

use super::counts::{CallWaits, Counts};
use super::state::{Phase, State, StepStatus};

impl StepStatus {
    fn counts(&self) -> Counts {
        Counts {
            in_flight: u32::from(self.is_in_flight()),
            backing_off: u32::from(matches!(self, Self::Backoff { .. })),
            evaluating: u32::from(matches!(self, Self::Evaluating)),
            awaiting: u32::from(matches!(self, Self::AwaitingApproval { .. } | Self::AwaitingToolApproval { .. })),
            awaiting_events: u32::from(matches!(self, Self::AwaitingEvent { .. })),
        }
    }
}

impl State {
    /// The deadline of the run. It moves while the run only waits for approvals and events.
    #[must_use]
    pub const fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// The deadline of the request that waits for the run, which never moves.
    #[must_use]
    pub const fn request_deadline(&self) -> Option<Deadline> {
        self.request_deadline
    }

    /// The time by which the run ends if it continues now: the earlier of both deadlines.
    #[must_use]
    pub fn effective_deadline(&self) -> Option<Deadline> {
        match (self.deadline, self.request_deadline) {
            (Some(own), Some(request)) => Some(own.earlier(request)),
            (own, request) => own.or(request),
        }
    }

    /// True while the run only waits for approvals and events, so that its time does not pass.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.paused_since.is_some()
    }

    /// The time that the run has left; it does not change while the run is paused.
    #[must_use]
    pub fn time_left(&self, now: Timestamp) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.remaining(self.paused_since.unwrap_or(now)))
    }

    /// True if the deadline of the run, or that of the request that waits for it, has passed.
    pub(super) fn has_passed_deadline(&self, now: Timestamp) -> bool {
        let own = self.deadline.is_some_and(|deadline| deadline.has_passed(now)) && !self.is_paused();
        own || self.request_deadline.is_some_and(|deadline| deadline.has_passed(now))
    }

    /// The steps that await an approval: its own, and those of the runs that it called.
    #[must_use]
    pub fn pending_approvals(&self) -> Vec<PendingApproval> {
        let Some(started) = self.started().filter(|_| self.phase == Phase::Running) else { return Vec::new() };
        let own = self.step_states().filter_map(|(step, step_state)| match step_state.status {
            StepStatus::AwaitingApproval { since, until } => {
                let (run, step, calls) = (started.run.clone(), step.clone(), Vec::new());
                Some(PendingApproval { run, step, index: None, since, until, calls })
            }
            _ => None,
        });
        own.chain(self.pending_tool_approvals(started))
            .chain(self.waiting_calls.values().flat_map(|waits| waits.approvals.iter().cloned()))
            .collect()
    }

    /// The call of a step whose run awaits approvals or events; `None` if none does.
    #[must_use]
    pub fn call_waits(&self, key: &StepKey) -> Option<&CallWaits> {
        self.waiting_calls.get(key).map(Arc::as_ref)
    }

    /// The time of the next retry, if the run does nothing until then: whatever it has begun waits for a retry, for events
    /// or for approvals, its own or those of a run that it called. None if it does anything else, or if nothing waits for
    /// a retry.
    #[must_use]
    pub fn next_retry(&self) -> Option<Timestamp> {
        let called = self.waiting_calls.values().filter_map(|waits| waits.retry_at).min();
        let quiet_calls = self.waiting_calls.values().filter(|waits| waits.idle || waits.retry_at.is_some()).count();
        let Counts { in_flight, backing_off, evaluating, awaiting: _, awaiting_events: _ } = self.counts;
        let only_waits = self.phase == Phase::Running
            && evaluating == 0
            && (backing_off > 0 || called.is_some())
            && in_flight as usize == quiet_calls.saturating_add(backing_off as usize);
        if !only_waits {
            return None;
        }
        let retry_at = |status: &StepStatus| match status {
            StepStatus::Backoff { at, .. } => Some(*at),
            _ => None,
        };
        let steps = self.step_states().map(|(_, step_state)| step_state);
        let each = steps.flat_map(|step_state| {
            let items = step_state.items.iter().flat_map(|items| items.iter()).map(|(_, item)| item);
            std::iter::once(&step_state.status).chain(items)
        });
        each.filter_map(retry_at).chain(called).min()
    }

    /// Records what the run of a call waits for. A call that is no longer in flight waits for nothing.
    pub(super) fn set_call_waits(&mut self, key: &StepKey, waits: CallWaits) {
        if waits.is_empty() || !matches!(self.step_status(key), StepStatus::InFlight { .. }) {
            self.waiting_calls.remove(key);
        } else {
            self.waiting_calls.insert(key.clone(), Arc::new(waits));
        }
    }

    /// Sets the status of a step, or of one of its items, and updates the counts.
    pub(super) fn set_status(&mut self, key: &StepKey, new: StepStatus) {
        if !matches!(new, StepStatus::Done { .. }) && self.has_run_in_flight(key) {
            self.has_unneeded_runs = true;
        }
        if new.is_finished() && !self.suspended.is_empty() {
            self.suspended.remove(key);
        }
        let is = new.counts();
        let was = match key.index {
            None => {
                let status = &mut self.step_state_mut(&key.step).status;
                let was = status.counts();
                *status = new;
                was
            }
            Some(index) => {
                let Some(items) = self.step_state_mut(&key.step).items.as_mut() else { return };
                let Some(was) = items.set(index, new) else { return };
                was.counts()
            }
        };
        self.counts.replace(was, is);
        if !self.waiting_calls.is_empty() {
            self.waiting_calls.remove(key);
        }
    }

    /// True if the call in flight of a step, or of one of its items, has started a run.
    fn has_run_in_flight(&self, key: &StepKey) -> bool {
        let calls_run = self.step_state(&key.step).is_some_and(|step_state| step_state.calls_run);
        calls_run && matches!(self.step_status(key), StepStatus::InFlight { .. })
    }

    /// True if everything that the run has begun waits for approvals or events.
    fn only_waits(&self) -> bool {
        let idle_calls = self.waiting_calls.values().filter(|waits| waits.idle).count();
        let Counts { in_flight, evaluating, awaiting, awaiting_events, backing_off: _ } = self.counts;
        self.phase == Phase::Running
            && evaluating == 0
            && in_flight as usize == idle_calls
            && (awaiting > 0 || awaiting_events > 0 || idle_calls > 0)
    }

    /// Stops or continues the time of the run after an entry that was written at `at`.
    pub(super) fn update_pause(&mut self, at: Timestamp) {
        match (self.paused_since, self.only_waits()) {
            (None, true) => self.paused_since = Some(at),
            (Some(since), false) => {
                let pause = at.saturating_duration_since(since);
                self.paused_since = None;
                self.deadline = self.deadline.map(|deadline| Deadline(deadline.0.saturating_add(pause)));
            }
            (None, false) | (Some(_), true) => {}
        }
    }
}
