//! What an append or a claim does to a run's head: decided here once, for every store.

use greenroom_protocol as protocol;
use protocol::event::RunState;
use protocol::journal::Entry;
use protocol::{PodId, Timestamp};

use crate::journal::{APPEND_ENTRIES_MAX, JournalError, Seq};
use crate::runs::{Fence, NewRun, RunHead};

/// The first owner's fence.
const FENCE_FIRST: Fence = Fence(1);

impl RunHead {
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
            body: run.body,
            state: RunState::Queued,
            asked: 0,
            fence: FENCE_FIRST,
            pod: run.pod.clone(),
            seq: Seq(0),
            created: now,
            updated: now,
        }
    }

    /// True if the next request of this run's id is the same one again.
    pub(crate) fn is_same(&self, run: &NewRun) -> bool {
        self.tenant == run.tenant && self.body == run.body
    }

    /// Hands the run to its next owner.
    pub(crate) fn take_over(&mut self, pod: &PodId) -> Fence {
        self.fence = Fence(self.fence.0.saturating_add(1));
        self.pod.clone_from(pod);
        self.fence
    }

    /// The head of a run that has just been accepted with entries in its journal, which fit together.
    pub(crate) fn begun(run: &NewRun, marks: &[Mark], now: Timestamp) -> Self {
        let mut head = Self::new(run, now);
        head.mark(marks, now);
        head
    }

    /// Lets an owner write entries behind `after`, and answers whether the head has to be kept anew:
    /// its number follows from the entries themselves, only a change of state does not.
    pub(crate) fn append(
        &mut self,
        fence: Fence,
        after: Seq,
        marks: &[Mark],
        now: Timestamp,
    ) -> Result<bool, JournalError> {
        if fence != self.fence {
            return Err(JournalError::Fenced);
        }
        if self.state.is_ended() {
            return Err(JournalError::Ended);
        }
        if after != self.seq {
            return Err(JournalError::OutOfOrder { found: self.seq });
        }
        if marks.is_empty() {
            return Err(JournalError::Size { found: 0 });
        }
        Mark::fit(marks)?;
        Ok(self.mark(marks, now))
    }

    fn mark(&mut self, marks: &[Mark], now: Timestamp) -> bool {
        self.seq = self.seq.plus(marks.len() as u64);
        let before = (self.state, self.asked);
        let after = marks.iter().fold(before, |(state, asked), mark| mark.after(state, asked));
        (self.state, self.asked) = after;
        if before.0 != after.0 {
            self.updated = now;
        }
        before != after
    }
}

/// What an entry means for where its run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing.
    Stays,
    /// It runs.
    Runs,
    /// It was taken up again; if it waited for a person, it still does.
    Resumes,
    /// One of its steps waits for a person.
    Asks,
    /// One of its steps was answered.
    Answered,
    /// It has ended.
    Ends(RunState),
}

impl Mark {
    /// What each entry means.
    pub(crate) fn all(entries: &[Entry]) -> Vec<Self> {
        entries.iter().map(Self::of).collect()
    }

    /// Refuses more entries than one append may hold, and an entry behind an end.
    pub(crate) fn fit(marks: &[Self]) -> Result<(), JournalError> {
        let is_past_end = marks.iter().rev().skip(1).any(|mark| matches!(mark, Self::Ends(_)));
        if marks.len() > APPEND_ENTRIES_MAX || is_past_end {
            return Err(JournalError::Size { found: marks.len() });
        }
        Ok(())
    }

    fn of(entry: &Entry) -> Self {
        match entry {
            Entry::ApprovalAnswered { .. } => Self::Answered,
            Entry::Begun(_) | Entry::CancelAsked { .. } | Entry::DeadlinePassed | Entry::CompensationBegun { .. } => {
                Self::Runs
            }
            Entry::Resumed { .. } => Self::Resumes,
            Entry::ApprovalAsked { .. } => Self::Asks,
            Entry::Ended { reply } => Self::Ends(reply.status.into()),
            Entry::StepReady { .. }
            | Entry::Expanded { .. }
            | Entry::StepStarted { .. }
            | Entry::StepDone { .. }
            | Entry::StepSkipped { .. }
            | Entry::StepRetried { .. }
            | Entry::RetryTaken
            | Entry::StepFailed { .. }
            | Entry::StepCancelled { .. }
            | Entry::CompensationStarted { .. }
            | Entry::CompensationEnded { .. } => Self::Stays,
        }
    }

    /// Where the run stands then, and how many of its steps wait for a person.
    fn after(self, state: RunState, asked: u32) -> (RunState, u32) {
        match self {
            Self::Stays => (state, asked),
            Self::Resumes if state == RunState::WaitingApproval => (state, asked),
            Self::Runs | Self::Resumes => (RunState::Running, 0),
            Self::Asks => (RunState::WaitingApproval, asked.saturating_add(1)),
            Self::Answered => match asked.saturating_sub(1) {
                0 => (RunState::Running, 0),
                left => (RunState::WaitingApproval, left),
            },
            Self::Ends(ended) => (ended, 0),
        }
    }
}

/// Reads a state as it was kept.
pub(crate) fn state_of(text: &str) -> Option<RunState> {
    const ALL: [RunState; 8] = [
        RunState::Queued,
        RunState::Running,
        RunState::WaitingApproval,
        RunState::Success,
        RunState::Failed,
        RunState::Denied,
        RunState::Cancelled,
        RunState::TimedOut,
    ];
    ALL.into_iter().find(|state| state.as_str() == text)
}
