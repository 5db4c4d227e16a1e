//! The changes of an append or a claim to the record of a run, decided here once for every store.

use greenroom_protocol as protocol;
use protocol::event::RunStatus;
use protocol::journal::Entry;
use protocol::{PodId, Timestamp};

use crate::core::Conflict;
use crate::journal::{APPEND_ENTRIES_MAX, JournalError, Seq};
use crate::runs::{Fence, NewRun, RunRecord};

impl RunRecord {
    /// The record of a new run; its creator owns it.
    fn new(run: &NewRun, now: Timestamp) -> Self {
        let started = &run.started;
        Self {
            run: started.run.clone(),
            owner: started.owner.clone(),
            workflow: started.workflow.clone(),
            version: started.version,
            team: started.team.clone(),
            parent: started.parent.clone(),
            root: started.root.clone(),
            request_hash: run.request_hash,
            personal_data: run.personal_data,
            status: RunStatus::Queued,
            pending_approvals: 0,
            fence: run.tree_fence.unwrap_or(Fence::FIRST),
            pod: run.pod.clone(),
            failures: 0,
            seq: Seq(0),
            created: now,
            updated: now,
        }
    }

    /// Rejects the claim of a tree of which no run is open, or that has an owner. Its root may have ended before the
    /// runs that it has called.
    pub(crate) const fn check_claim(has_open_run: bool, is_leased: bool) -> Result<(), Conflict> {
        match (has_open_run, is_leased) {
            (false, _) => Err(Conflict::Ended),
            (true, true) => Err(Conflict::Owned),
            (true, false) => Ok(()),
        }
    }

    /// The conflict of a request to create a run with the id of this one.
    pub(crate) fn conflict_with(&self, run: &NewRun) -> Conflict {
        let is_same = self.owner == run.started.owner && self.request_hash == run.request_hash;
        Conflict::Run(is_same.then(|| self.run.clone()))
    }

    /// Checks that a run with this fence may be started by this one.
    pub(crate) fn check_calls(&self, fence: Fence) -> Result<(), JournalError> {
        match (self.fence == fence, self.status.is_terminal()) {
            (false, _) => Err(JournalError::Fenced),
            (true, true) => Err(JournalError::Ended),
            (true, false) => Ok(()),
        }
    }

    /// Transfers a root, and with it its tree, to its next owner. Returns the owner's fence.
    pub(crate) fn transfer_to(&mut self, pod: &PodId) -> Fence {
        self.fence = Fence(self.fence.0.saturating_add(1));
        self.pod.clone_from(pod);
        self.fence
    }

    /// Transfers a run with its tree.
    pub(crate) fn follow(&mut self, root: &Self) {
        self.fence = root.fence;
        self.pod.clone_from(&root.pod);
    }

    /// The record of a new run that is created together with checked journal entries.
    pub(crate) fn with_entries(run: &NewRun, changes: &[StatusChange], now: Timestamp) -> Self {
        let mut record = Self::new(run, now);
        record.append(changes, now);
        record
    }

    /// Rejects entries that an owner may not append after `after`.
    pub(crate) fn check_append(&self, fence: Fence, after: Seq, changes: &[StatusChange]) -> Result<(), JournalError> {
        if fence != self.fence {
            return Err(JournalError::Fenced);
        }
        if self.status.is_terminal() {
            return Err(JournalError::Ended);
        }
        if after != self.seq {
            return Err(JournalError::OutOfOrder { found: self.seq });
        }
        if changes.is_empty() {
            return Err(JournalError::Size { found: 0 });
        }
        StatusChange::check_entries(changes)
    }

    /// Applies checked entries. Returns whether the record must be stored: its sequence number can be read from the
    /// entries, but a change of status cannot.
    pub(crate) fn append(&mut self, changes: &[StatusChange], now: Timestamp) -> bool {
        self.seq = self.seq.plus(changes.len() as u64);
        let before = (self.status, self.pending_approvals);
        let after = changes.iter().fold(before, |(status, pending), change| change.apply_to(status, pending));
        (self.status, self.pending_approvals) = after;
        if before.0 != after.0 {
            self.updated = now;
        }
        before != after
    }
}

/// The meaning of an entry for the status of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusChange {
    /// No change.
    None,
    /// No change, and no progress either: what a called run waits for is recorded again at each resumption.
    CallWaits,
    /// The run is running.
    Running,
    /// The run was resumed; if it awaited an approval, it still does.
    Resumed,
    /// No change of what its steps do, and no progress: its tree is not resumed any more.
    GivenUp,
    /// Its tree is resumed again.
    Reopened,
    /// One of its steps awaits an approval.
    ApprovalRequested,
    /// The approval of one of its steps was decided.
    ApprovalResolved,
    /// The run has ended.
    Ended(RunStatus),
}

impl StatusChange {
    /// True if one of the entries is more than a resumption, what is recorded again because of it, and its end. Failures
    /// and attempts are counted from such an entry on.
    pub(crate) fn are_progress(changes: &[Self]) -> bool {
        changes.iter().any(|change| !matches!(change, Self::Resumed | Self::CallWaits | Self::GivenUp))
    }

    /// Returns the change of each entry.
    pub(crate) fn from_entries(entries: &[Entry]) -> Vec<Self> {
        entries.iter().map(Self::from_entry).collect()
    }

    /// Rejects more entries than one append may have, and an entry after the end of the run.
    pub(crate) fn check_entries(changes: &[Self]) -> Result<(), JournalError> {
        let is_after_end = changes.iter().rev().skip(1).any(|change| matches!(change, Self::Ended(_)));
        if changes.len() > APPEND_ENTRIES_MAX || is_after_end {
            return Err(JournalError::Size { found: changes.len() });
        }
        Ok(())
    }

    fn from_entry(entry: &Entry) -> Self {
        match entry {
            Entry::ApprovalResolved { .. } | Entry::ToolApprovalResolved { remaining: 0, .. } => Self::ApprovalResolved,
            Entry::RunStarted(_)
            | Entry::CancelRequested { .. }
            | Entry::DeadlinePassed
            | Entry::RunCompensationStarted { .. } => Self::Running,
            Entry::RunResumed { .. } => Self::Resumed,
            Entry::RunGivenUp { .. } => Self::GivenUp,
            Entry::RunReopened { .. } => Self::Reopened,
            Entry::ApprovalRequested { .. } | Entry::ToolApprovalRequested { .. } => Self::ApprovalRequested,
            Entry::RunEnded { reply } => Self::Ended(reply.status.into()),
            Entry::CallAwaitsApproval { .. } => Self::CallWaits,
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
            | Entry::StepCompensationEnded { .. }
            | Entry::ToolApprovalResolved { .. }
            | Entry::WaitStarted { .. }
            | Entry::EventReceived { .. }
            | Entry::ContextChanged { .. } => Self::None,
        }
    }

    /// Returns the status after the entry, and the number of steps that await an approval.
    fn apply_to(self, status: RunStatus, pending: u32) -> (RunStatus, u32) {
        match self {
            Self::None | Self::CallWaits => (status, pending),
            Self::Resumed if status == RunStatus::WaitingApproval => (status, pending),
            Self::Running | Self::Resumed => (RunStatus::Running, 0),
            Self::GivenUp => (RunStatus::Dead, pending),
            Self::Reopened if pending > 0 => (RunStatus::WaitingApproval, pending),
            Self::Reopened => (RunStatus::Running, 0),
            Self::ApprovalRequested => (RunStatus::WaitingApproval, pending.saturating_add(1)),
            Self::ApprovalResolved => match pending.saturating_sub(1) {
                0 => (RunStatus::Running, 0),
                pending => (RunStatus::WaitingApproval, pending),
            },
            Self::Ended(ended) => (ended, 0),
        }
    }
}

/// True if these entries end a run by a reply that an idempotency key does not keep: the key of the run is released,
/// and the next request with it is executed. Until then the key names the run, which can be resumed.
pub(crate) fn releases_key(entries: &[Entry]) -> bool {
    entries.last().is_some_and(|last| matches!(last, Entry::RunEnded { reply } if !reply.is_final()))
}

/// Parses a stored status.
pub(crate) fn parse_status(text: &str) -> Option<RunStatus> {
    RunStatus::ALL.into_iter().find(|status| status.as_str() == text)
}
