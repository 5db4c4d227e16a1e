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

    /// Lets an owner write `entries` behind `after`, and answers whether the head has to be kept
    /// anew: its number follows from the entries themselves, only a change of state does not.
    pub(crate) fn append(
        &mut self,
        fence: Fence,
        after: Seq,
        entries: &[Entry],
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
        let is_past_end = entries.iter().rev().skip(1).any(|entry| matches!(entry, Entry::Ended { .. }));
        if entries.is_empty() || entries.len() > APPEND_ENTRIES_MAX || is_past_end {
            return Err(JournalError::Size { found: entries.len() });
        }
        self.seq = self.seq.plus(entries.len() as u64);
        let state = entries.iter().fold(self.state, state_after);
        let is_changed = state != self.state;
        if is_changed {
            self.state = state;
            self.updated = now;
        }
        Ok(is_changed)
    }
}

/// Where a run stands after an entry.
fn state_after(state: RunState, entry: &Entry) -> RunState {
    match entry {
        Entry::Begun(_) | Entry::Resumed { .. } | Entry::ApprovalAnswered { .. } => match state {
            RunState::WaitingApproval if matches!(entry, Entry::Resumed { .. }) => state,
            _ => RunState::Running,
        },
        Entry::ApprovalAsked { .. } => RunState::WaitingApproval,
        Entry::CancelAsked { .. } | Entry::DeadlinePassed | Entry::CompensationBegun { .. } => RunState::Running,
        Entry::Ended { reply } => reply.status.into(),
        Entry::StepReady { .. }
        | Entry::Expanded { .. }
        | Entry::StepStarted { .. }
        | Entry::StepDone { .. }
        | Entry::StepSkipped { .. }
        | Entry::StepRetried { .. }
        | Entry::StepFailed { .. }
        | Entry::StepCancelled { .. }
        | Entry::CompensationStarted { .. }
        | Entry::CompensationEnded { .. } => state,
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
