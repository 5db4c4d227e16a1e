//! What an append or a claim does to a run's head: decided here once, for every store.

use greenroom_protocol as protocol;
use protocol::event::RunStatus;
use protocol::journal::Entry;
use protocol::{PodId, Timestamp};

use crate::journal::{APPEND_ENTRIES_MAX, JournalError, Seq};
use crate::runs::{Fence, NewRun, RunRecord};

/// The first owner's fence.
const FENCE_FIRST: Fence = Fence(1);

impl RunRecord {
    /// The head of a run that has just been accepted; its maker owns it.
    pub(crate) fn new(run: &NewRun, now: Timestamp) -> Self {
        Self {
            run: run.run.clone(),
            tenant: run.tenant.clone(),
            owner: run.owner.clone(),
            workflow: run.workflow.clone(),
            version: run.version,
            team: run.team.clone(),
            parent: run.parent.clone(),
            request_hash: run.request_hash,
            status: RunStatus::Queued,
            pending_approvals: 0,
            fence: FENCE_FIRST,
            pod: run.pod.clone(),
            seq: Seq(0),
            created: now,
            updated: now,
        }
    }

    /// True if the next request of this run's id is the same one again.
    pub(crate) fn matches(&self, run: &NewRun) -> bool {
        self.tenant == run.tenant && self.request_hash == run.request_hash
    }

    /// Hands the run to its next owner.
    pub(crate) fn transfer_to(&mut self, pod: &PodId) -> Fence {
        self.fence = Fence(self.fence.0.saturating_add(1));
        self.pod.clone_from(pod);
        self.fence
    }

    /// The head of a run that has just been accepted with entries in its journal, which fit together.
    pub(crate) fn with_entries(run: &NewRun, marks: &[StatusChange], now: Timestamp) -> Self {
        let mut head = Self::new(run, now);
        head.apply_changes(marks, now);
        head
    }

    /// Lets an owner write entries behind `after`, and answers whether the head has to be kept anew:
    /// its number follows from the entries themselves, only a change of state does not.
    pub(crate) fn append(
        &mut self,
        fence: Fence,
        after: Seq,
        marks: &[StatusChange],
        now: Timestamp,
    ) -> Result<bool, JournalError> {
        if fence != self.fence {
            return Err(JournalError::Fenced);
        }
        if self.status.is_terminal() {
            return Err(JournalError::Ended);
        }
        if after != self.seq {
            return Err(JournalError::OutOfOrder { found: self.seq });
        }
        if marks.is_empty() {
            return Err(JournalError::Size { found: 0 });
        }
        StatusChange::check_entries(marks)?;
        Ok(self.apply_changes(marks, now))
    }

    fn apply_changes(&mut self, marks: &[StatusChange], now: Timestamp) -> bool {
        self.seq = self.seq.plus(marks.len() as u64);
        let before = (self.status, self.pending_approvals);
        let after = marks.iter().fold(before, |(state, asked), mark| mark.apply_to(state, asked));
        (self.status, self.pending_approvals) = after;
        if before.0 != after.0 {
            self.updated = now;
        }
        before != after
    }
}

/// What an entry means for where its run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusChange {
    /// Nothing.
    None,
    /// It runs.
    Running,
    /// It was taken up again; if it waited for a person, it still does.
    Resumed,
    /// One of its steps waits for a person.
    ApprovalRequested,
    /// One of its steps was answered.
    ApprovalResolved,
    /// It has ended.
    Ended(RunStatus),
}

impl StatusChange {
    /// What each entry means.
    pub(crate) fn from_entries(entries: &[Entry]) -> Vec<Self> {
        entries.iter().map(Self::from_entry).collect()
    }

    /// Refuses more entries than one append may hold, and an entry behind an end.
    pub(crate) fn check_entries(marks: &[Self]) -> Result<(), JournalError> {
        let is_past_end = marks.iter().rev().skip(1).any(|mark| matches!(mark, Self::Ended(_)));
        if marks.len() > APPEND_ENTRIES_MAX || is_past_end {
            return Err(JournalError::Size { found: marks.len() });
        }
        Ok(())
    }

    fn from_entry(entry: &Entry) -> Self {
        match entry {
            Entry::ApprovalResolved { .. } => Self::ApprovalResolved,
            Entry::RunStarted(_)
            | Entry::CancelRequested { .. }
            | Entry::DeadlinePassed
            | Entry::RunCompensationStarted { .. } => Self::Running,
            Entry::RunResumed { .. } => Self::Resumed,
            Entry::ApprovalRequested { .. } => Self::ApprovalRequested,
            Entry::RunEnded { reply } => Self::Ended(reply.status.into()),
            Entry::StepReady { .. }
            | Entry::ItemsExpanded { .. }
            | Entry::StepStarted { .. }
            | Entry::StepDone { .. }
            | Entry::StepSkipped { .. }
            | Entry::StepRetried { .. }
            | Entry::NestedRetryTaken
            | Entry::StepFailed { .. }
            | Entry::StepCancelled { .. }
            | Entry::StepCompensationStarted { .. }
            | Entry::StepCompensationEnded { .. } => Self::None,
        }
    }

    /// Where the run stands then, and how many of its steps wait for a person.
    fn apply_to(self, state: RunStatus, asked: u32) -> (RunStatus, u32) {
        match self {
            Self::None => (state, asked),
            Self::Resumed if state == RunStatus::WaitingApproval => (state, asked),
            Self::Running | Self::Resumed => (RunStatus::Running, 0),
            Self::ApprovalRequested => (RunStatus::WaitingApproval, asked.saturating_add(1)),
            Self::ApprovalResolved => match asked.saturating_sub(1) {
                0 => (RunStatus::Running, 0),
                left => (RunStatus::WaitingApproval, left),
            },
            Self::Ended(ended) => (ended, 0),
        }
    }
}

/// Reads a state as it was kept.
pub(crate) fn parse_status(text: &str) -> Option<RunStatus> {
    const ALL: [RunStatus; 8] = [
        RunStatus::Queued,
        RunStatus::Running,
        RunStatus::WaitingApproval,
        RunStatus::Success,
        RunStatus::Failed,
        RunStatus::Denied,
        RunStatus::Cancelled,
        RunStatus::TimedOut,
    ];
    ALL.into_iter().find(|state| state.as_str() == text)
}
