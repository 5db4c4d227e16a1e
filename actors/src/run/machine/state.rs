//! What a run is at one moment: nothing but the fold of its journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::{ResultRef, RunStarted, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{Cause, Deadline, Reply, StepId, Timestamp, UserId};

/// Items that share one allocation, so that a change of one item copies few of its neighbours.
const CHUNK_ITEMS: usize = 64;

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Phase {
    /// Nothing has been journalled yet.
    #[default]
    New,
    /// Steps are being done.
    Running,
    /// What was done is being undone.
    Compensating {
        /// Why.
        cause: Arc<Cause>,
        /// After which the rest is left as it is.
        until: Timestamp,
    },
    /// It is over.
    Ended(Arc<Reply>),
}

/// Where a step, or one item of it, stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum StepStatus {
    /// Something that it depends on is not there yet.
    #[default]
    Waiting,
    /// Its condition, items or question are being worked out.
    Evaluating,
    /// A person is asked.
    AwaitingApproval {
        /// Since when.
        since: Timestamp,
    },
    /// A person said yes, and it may begin.
    Approved,
    /// Its items are at work; it has ended when they all have.
    RunningItems,
    /// It is being done.
    InFlight {
        /// 1 for the first attempt.
        attempt: u32,
        /// Since when.
        since: Timestamp,
    },
    /// It will be tried again.
    Backoff {
        /// The attempt that failed.
        attempt: u32,
        /// When it is tried again.
        at: Timestamp,
    },
    /// It gave its result.
    Done {
        /// Its place in the order of completion.
        order: u32,
        /// What it gave.
        result: Arc<ResultRef>,
    },
    /// It was not needed.
    Skipped,
    /// It failed for good.
    Failed {
        /// Why.
        cause: Arc<Cause>,
    },
    /// It was stopped.
    Cancelled,
    /// It is being undone.
    Compensating {
        /// 1 for the first attempt.
        attempt: u32,
        /// Since when.
        since: Timestamp,
        /// What it gave.
        result: Arc<ResultRef>,
    },
    /// It was undone.
    Compensated,
    /// It could not be undone.
    CompensationFailed,
}

impl StepStatus {
    /// True while a call is under way or will be made again: it holds one of the run's places.
    #[must_use]
    pub const fn is_in_flight(&self) -> bool {
        matches!(self, Self::InFlight { .. } | Self::Backoff { .. })
    }

    /// True if nothing but an undoing will change it.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        match self {
            Self::Waiting
            | Self::Evaluating
            | Self::AwaitingApproval { .. }
            | Self::Approved
            | Self::RunningItems
            | Self::InFlight { .. }
            | Self::Backoff { .. } => false,
            Self::Done { .. }
            | Self::Skipped
            | Self::Failed { .. }
            | Self::Cancelled
            | Self::Compensating { .. }
            | Self::Compensated
            | Self::CompensationFailed => true,
        }
    }

    /// What it gave, as long as that stands.
    #[must_use]
    pub const fn result(&self) -> Option<&Arc<ResultRef>> {
        match self {
            Self::Done { result, .. } | Self::Compensating { result, .. } => Some(result),
            Self::Waiting
            | Self::Evaluating
            | Self::AwaitingApproval { .. }
            | Self::Approved
            | Self::RunningItems
            | Self::InFlight { .. }
            | Self::Backoff { .. }
            | Self::Skipped
            | Self::Failed { .. }
            | Self::Cancelled
            | Self::Compensated
            | Self::CompensationFailed => None,
        }
    }
}

/// The items of a `for_each` step, in the order of its list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Items {
    chunks: Vec<Arc<Vec<StepStatus>>>,
    count: u32,
    /// Items that hold a place.
    pub(super) live: u32,
    /// Items that have ended.
    pub(super) settled: u32,
    /// Behind the last item that has begun; they begin in their order.
    begun: u32,
    /// The first item that failed, in the order of failing.
    pub(super) failed: Option<u32>,
}

impl Items {
    pub(super) fn new(count: u32) -> Self {
        let full = Arc::new(vec![StepStatus::Waiting; CHUNK_ITEMS]);
        let chunks = (0..(count as usize).div_ceil(CHUNK_ITEMS)).map(|_| full.clone()).collect();
        Self { chunks, count, live: 0, settled: 0, begun: 0, failed: None }
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// How many have ended.
    #[must_use]
    pub const fn settled(&self) -> u32 {
        self.settled
    }

    /// One of them; none beyond the last.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&StepStatus> {
        let ticket = index as usize;
        (index < self.count).then(|| self.chunks.get(ticket / CHUNK_ITEMS)?.get(ticket % CHUNK_ITEMS)).flatten()
    }

    /// The next one that begins; none if all have begun or are not needed.
    #[must_use]
    pub fn next(&self) -> Option<u32> {
        (self.begun..self.count).find(|index| self.get(*index) == Some(&StepStatus::Waiting))
    }

    /// All of them, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &StepStatus)> {
        (0..self.count).filter_map(|index| Some((index, self.get(index)?)))
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut StepStatus> {
        let ticket = index as usize;
        if index >= self.count {
            return None;
        }
        Arc::make_mut(self.chunks.get_mut(ticket / CHUNK_ITEMS)?).get_mut(ticket % CHUNK_ITEMS)
    }
}

/// One step of the plan, with its items where it has any.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepState {
    /// The step itself.
    pub status: StepStatus,
    /// Its items, once they are known.
    pub items: Option<Items>,
    /// True if a person said yes.
    pub approved: bool,
}

impl StepState {
    /// True if the step has ended, well or not.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match (&self.status, &self.items) {
            (StepStatus::RunningItems, Some(items)) => items.settled == items.count,
            (own, _) => own.is_finished(),
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
    pub(super) tracks: BTreeMap<StepId, Arc<StepState>>,
    pub(super) usage: Usage,
    pub(super) in_flight: u32,
    pub(super) done: u32,
    pub(super) retries_remaining: u32,
    pub(super) cancelled_by: Option<UserId>,
    pub(super) deadline_passed: bool,
    pub(super) last_at: Timestamp,
}

impl State {
    /// Where the run stands.
    #[must_use]
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Where the run stands, as those outside see it.
    #[must_use]
    pub fn run_state(&self) -> RunStatus {
        let is_asked = |track: &Arc<StepState>| matches!(track.status, StepStatus::AwaitingApproval { .. });
        match &self.phase {
            Phase::New => RunStatus::Queued,
            Phase::Running if self.in_flight == 0 && self.tracks.values().any(is_asked) => RunStatus::WaitingApproval,
            Phase::Running | Phase::Compensating { .. } => RunStatus::Running,
            Phase::Ended(reply) => RunStatus::from(reply.status),
        }
    }

    /// What it began with; none before it has begun.
    #[must_use]
    pub const fn started(&self) -> Option<&Arc<RunStarted>> {
        self.started.as_ref()
    }

    /// When it must have ended.
    #[must_use]
    pub const fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// When its last entry was written.
    #[must_use]
    pub const fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// What all its calls took so far.
    #[must_use]
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Retries that its steps still have together.
    #[must_use]
    pub const fn retries_remaining(&self) -> u32 {
        self.retries_remaining
    }

    /// The state as it would be without a retry left.
    #[must_use]
    pub fn without_retries(&self) -> Self {
        Self { retries_remaining: 0, ..self.clone() }
    }

    /// A step; none if nothing has been journalled of it.
    #[must_use]
    pub fn track(&self, step: &StepId) -> Option<&StepState> {
        self.tracks.get(step).map(Arc::as_ref)
    }

    /// Every step of which something was journalled.
    pub fn tracks(&self) -> impl Iterator<Item = (&StepId, &StepState)> {
        self.tracks.iter().map(|(step, track)| (step, track.as_ref()))
    }

    /// A step or one item of it.
    #[must_use]
    pub fn step(&self, key: &StepKey) -> &StepStatus {
        static WAITING: StepStatus = StepStatus::Waiting;
        let found = self.tracks.get(&key.step).and_then(|track| match key.index {
            None => Some(&track.status),
            Some(index) => track.items.as_ref()?.get(index),
        });
        found.unwrap_or(&WAITING)
    }

    pub(super) fn track_mut(&mut self, step: &StepId) -> &mut StepState {
        Arc::make_mut(self.tracks.entry(step.clone()).or_default())
    }

    /// Replaces a step, or one item of it, and keeps the counts right.
    pub(super) fn set(&mut self, key: &StepKey, new: StepStatus) {
        let (was_live, is_live) = match key.index {
            None => {
                let own = &mut self.track_mut(&key.step).status;
                let was = own.is_in_flight();
                let is = new.is_in_flight();
                *own = new;
                (was, is)
            }
            Some(index) => {
                let Some(items) = self.track_mut(&key.step).items.as_mut() else { return };
                let Some(item) = items.get_mut(index) else { return };
                let was = (item.is_in_flight(), item.is_finished());
                let is = (new.is_in_flight(), new.is_finished());
                let has_failed = matches!(new, StepStatus::Failed { .. });
                let has_begun = matches!(new, StepStatus::InFlight { .. } | StepStatus::Failed { .. });
                *item = new;
                items.live = items.live.saturating_add(u32::from(is.0)).saturating_sub(u32::from(was.0));
                items.settled = items.settled.saturating_add(u32::from(is.1)).saturating_sub(u32::from(was.1));
                if has_begun {
                    items.begun = items.begun.max(index.saturating_add(1));
                }
                if has_failed && items.failed.is_none() {
                    items.failed = Some(index);
                }
                (was.0, is.0)
            }
        };
        self.in_flight = self.in_flight.saturating_add(u32::from(is_live)).saturating_sub(u32::from(was_live));
    }
}
