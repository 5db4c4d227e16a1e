//! The state of a run: the fold of its journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::{ItemList, RunStarted, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{Cause, Deadline, EventId, Reply, StepId, Timestamp, UserId};

use super::counts::{CallWaits, Counts};
use super::received_events::ReceivedEvents;
use super::suspension::Suspension;

pub use super::step_status::StepStatus;

/// Items that share one allocation, so that a change of one item copies few others.
const CHUNK_ITEMS: usize = 64;

/// The phase of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Phase {
    /// The journal is empty.
    #[default]
    New,
    /// Steps are executed.
    Running,
    /// Completed steps are compensated, and the runs end whose calls ended without a result.
    Compensating {
        /// Why.
        cause: Arc<Cause>,
        /// After this time the remaining steps are not compensated.
        until: Timestamp,
        /// The timeout that a resumed run has again.
        timeout: Duration,
    },
    /// It has ended.
    Ended(Arc<Reply>),
}

/// The items of a `for_each` step, in the order of its list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Items {
    chunks: Vec<Arc<Vec<StepStatus>>>,
    count: u32,
    /// The list itself; `None` in a journal of a release without it.
    list: Option<Arc<ItemList>>,
    /// Items in flight, and those whose agents wait for approvals of their tools.
    pub(super) in_flight: u32,
    /// Items that have ended.
    pub(super) finished: u32,
    /// Index after the last item that has started; items start in order.
    next_start: u32,
    /// The item that failed first.
    pub(super) first_failed: Option<u32>,
}

impl Items {
    pub(super) fn new(count: u32, list: Option<ItemList>) -> Self {
        let full = Arc::new(vec![StepStatus::Waiting; CHUNK_ITEMS]);
        let chunks = (0..(count as usize).div_ceil(CHUNK_ITEMS)).map(|_| full.clone()).collect();
        let list = list.map(Arc::new);
        Self { chunks, count, list, in_flight: 0, finished: 0, next_start: 0, first_failed: None }
    }

    /// The list, as the journal has it.
    #[must_use]
    pub const fn list(&self) -> Option<&Arc<ItemList>> {
        self.list.as_ref()
    }

    /// Number of items.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Number of items that have ended.
    #[must_use]
    pub const fn finished(&self) -> u32 {
        self.finished
    }

    /// An item; `None` if the index is out of range.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&StepStatus> {
        let position = index as usize;
        (index < self.count).then(|| self.chunks.get(position / CHUNK_ITEMS)?.get(position % CHUNK_ITEMS)).flatten()
    }

    /// The next item to start; `None` if all have started or are skipped.
    #[must_use]
    pub fn next_waiting(&self) -> Option<u32> {
        (self.next_start..self.count).find(|index| self.get(*index) == Some(&StepStatus::Waiting))
    }

    /// Sets the status of an item and returns the one before; `None` if the index is out of range.
    pub(super) fn set(&mut self, index: u32, new: StepStatus) -> Option<StepStatus> {
        let is = (new.is_open(), new.is_finished());
        let has_failed = matches!(new, StepStatus::Failed { .. });
        let has_started = matches!(new, StepStatus::InFlight { .. } | StepStatus::Failed { .. });
        let before = std::mem::replace(self.get_mut(index)?, new);
        let was = (before.is_open(), before.is_finished());
        self.in_flight = self.in_flight.saturating_add(u32::from(is.0)).saturating_sub(u32::from(was.0));
        self.finished = self.finished.saturating_add(u32::from(is.1)).saturating_sub(u32::from(was.1));
        if has_started {
            self.next_start = self.next_start.max(index.saturating_add(1));
        }
        if has_failed && self.first_failed.is_none() {
            self.first_failed = Some(index);
        }
        Some(before)
    }

    /// All items, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &StepStatus)> {
        (0..self.count).filter_map(|index| Some((index, self.get(index)?)))
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut StepStatus> {
        let position = index as usize;
        if index >= self.count {
            return None;
        }
        Arc::make_mut(self.chunks.get_mut(position / CHUNK_ITEMS)?).get_mut(position % CHUNK_ITEMS)
    }
}

/// One step of the plan, with its items where it has any.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepState {
    /// The step itself.
    pub status: StepStatus,
    /// Its items, once they are evaluated.
    pub items: Option<Items>,
    /// True if a user has approved it.
    pub approved: bool,
    /// True if its calls start runs.
    pub(super) calls_run: bool,
}

impl StepState {
    /// True if the step has ended, with any status.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match (&self.status, &self.items) {
            (StepStatus::RunningItems, Some(items)) => items.finished == items.count,
            (status, _) => status.is_finished(),
        }
    }
}

/// The state of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    pub(super) phase: Phase,
    pub(super) started: Option<Arc<RunStarted>>,
    pub(super) started_at: Timestamp,
    pub(super) deadline: Option<Deadline>,
    pub(super) request_deadline: Option<Deadline>,
    pub(super) step_states: BTreeMap<StepId, Arc<StepState>>,
    /// The events that were published to the run.
    pub(super) events: Arc<ReceivedEvents>,
    /// The writes of its context that other pods have sent.
    pub(super) writes: Arc<BTreeSet<EventId>>,
    /// The requests of handlers that have written its context.
    pub(super) handler_writes: Arc<BTreeSet<EventId>>,
    /// The calls in flight whose runs await approvals or events.
    pub(super) waiting_calls: BTreeMap<StepKey, Arc<CallWaits>>,
    /// The steps that wait for decisions about calls of tools, or continue with them.
    pub(super) suspended: BTreeMap<StepKey, Arc<Suspension>>,
    /// Since when the run only waits for approvals and events, so that its time does not pass.
    pub(super) paused_since: Option<Timestamp>,
    pub(super) usage: Usage,
    pub(super) counts: Counts,
    pub(super) completed_count: u32,
    pub(super) retries_remaining: u32,
    pub(super) cancelled_by: Option<UserId>,
    pub(super) deadline_passed: bool,
    /// True if a call that started a run ended without a result.
    pub(super) has_unneeded_runs: bool,
    pub(super) last_at: Timestamp,
}

impl State {
    /// The phase of the run.
    #[must_use]
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The status of the run, as callers see it.
    #[must_use]
    pub fn run_status(&self) -> RunStatus {
        match &self.phase {
            Phase::New => RunStatus::Queued,
            Phase::Running if self.counts.in_flight == 0 && self.counts.awaiting > 0 => RunStatus::WaitingApproval,
            Phase::Running | Phase::Compensating { .. } => RunStatus::Running,
            Phase::Ended(reply) => RunStatus::from(reply.status),
        }
    }

    /// The record of its start; `None` before it has started.
    #[must_use]
    pub const fn started(&self) -> Option<&Arc<RunStarted>> {
        self.started.as_ref()
    }

    /// The time of its last entry.
    #[must_use]
    pub const fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// The usage of all its calls so far.
    #[must_use]
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }

    /// True if a write of the context that another pod has sent was recorded before.
    #[must_use]
    pub fn has_written(&self, id: &EventId) -> bool {
        self.writes.contains(id)
    }

    /// The requests of handlers of agents that have written its context, each the same for all writes of a key by one call.
    #[must_use]
    pub const fn handler_writes(&self) -> &Arc<BTreeSet<EventId>> {
        &self.handler_writes
    }

    /// The remaining retries of its steps.
    #[must_use]
    pub const fn retries_remaining(&self) -> u32 {
        self.retries_remaining
    }

    /// The same state without remaining retries.
    #[must_use]
    pub fn without_retries(&self) -> Self {
        Self { retries_remaining: 0, ..self.clone() }
    }

    /// True if a call that started a run ended without a result: that run may not have ended, and the end of this run
    /// waits for it.
    #[must_use]
    pub const fn has_unneeded_runs(&self) -> bool {
        self.has_unneeded_runs
    }

    /// The state of a step; `None` if the journal has no entry of it.
    #[must_use]
    pub fn step_state(&self, step: &StepId) -> Option<&StepState> {
        self.step_states.get(step).map(Arc::as_ref)
    }

    /// The states of all steps that have an entry.
    pub fn step_states(&self) -> impl Iterator<Item = (&StepId, &StepState)> {
        self.step_states.iter().map(|(step, step_state)| (step, step_state.as_ref()))
    }

    /// The status of a step or of one of its items.
    #[must_use]
    pub fn step_status(&self, key: &StepKey) -> &StepStatus {
        static WAITING: StepStatus = StepStatus::Waiting;
        let found = self.step_states.get(&key.step).and_then(|step_state| match key.index {
            None => Some(&step_state.status),
            Some(index) => step_state.items.as_ref()?.get(index),
        });
        found.unwrap_or(&WAITING)
    }

    pub(super) fn step_state_mut(&mut self, step: &StepId) -> &mut StepState {
        Arc::make_mut(self.step_states.entry(step.clone()).or_default())
    }
}
