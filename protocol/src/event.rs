//! What watching a run shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Cause;
use crate::id::{AgentId, RunId, StepId};
use crate::journal::{Entry, StepKey};
use crate::reply::{Reply, Status};
use crate::time::Timestamp;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Accepted, not begun.
    Queued,
    /// Under way.
    Running,
    /// A step waits for a person.
    WaitingApproval,
    /// Ended well.
    Success,
    /// Ended badly.
    Failed,
    /// Stopped by policy.
    Denied,
    /// Stopped by a person.
    Cancelled,
    /// Stopped by the clock.
    TimedOut,
}

impl RunStatus {
    /// True if nothing will change any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::WaitingApproval => false,
            Self::Success | Self::Failed | Self::Denied | Self::Cancelled | Self::TimedOut => true,
        }
    }

    /// The state as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::WaitingApproval => "waiting_approval",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

impl From<Status> for RunStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Success => Self::Success,
            Status::Failed => Self::Failed,
            Status::Denied => Self::Denied,
            Status::Cancelled => Self::Cancelled,
            Status::TimedOut => Self::TimedOut,
        }
    }
}

/// One thing that happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunEvent {
    /// The run.
    pub run: RunId,
    /// The number of the journal entry that says so.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: RunEventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEventKind {
    /// The run has begun.
    RunStarted {
        /// Steps of its plan.
        steps: u32,
    },
    /// The run goes on after its process had ended.
    RunResumed {
        /// True if the definitions have changed since it began; it goes on with those it is pinned to.
        definitions_changed: bool,
    },
    /// A step has begun, or begun again.
    StepStarted {
        /// The step.
        step: StepId,
        /// Its place in a `for_each`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<u32>,
        /// Who does it, where it is an agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentId>,
        /// 1 for the first attempt.
        attempt: u32,
    },
    /// A step has ended.
    StepEnded {
        /// The step.
        step: StepId,
        /// Its place in a `for_each`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<u32>,
        /// `done`, `skipped`, `failed`, `cancelled`, `compensated` or `not_compensated`.
        status: String,
        /// From start to end.
        duration_ms: u64,
        /// Why, if not well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    },
    /// A step will be tried again.
    StepRetried {
        /// The step.
        step: StepId,
        /// Why.
        cause: Cause,
        /// After how long.
        after_ms: u64,
    },
    /// A step waits for a person.
    ApprovalRequested {
        /// The step.
        step: StepId,
        /// What the person is asked.
        prompt: String,
    },
    /// A person answered.
    ApprovalResolved {
        /// The step.
        step: StepId,
        /// What they said.
        approved: bool,
        /// Who.
        by: String,
    },
    /// The run has ended; this is its last event.
    RunEnded {
        /// The answer.
        reply: Box<Reply>,
    },
}

impl RunEvent {
    /// What a journal entry shows to those who watch; `None` if it shows them nothing.
    #[must_use]
    pub fn from_entry(run: &RunId, seq: u64, at: Timestamp, entry: &Entry) -> Option<Self> {
        RunEventKind::of(entry).map(|what| Self { run: run.clone(), seq, at, kind: what })
    }
}

impl RunEventKind {
    /// What a journal entry shows to those who watch; `None` if it shows them nothing.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        let ended = |key: &StepKey, state: &str, duration_ms: u64, cause: Option<&Cause>| Self::StepEnded {
            step: key.step.clone(),
            index: key.index,
            status: state.to_owned(),
            duration_ms,
            cause: cause.cloned(),
        };
        Some(match entry {
            Entry::RunStarted(begun) => Self::RunStarted { steps: begun.steps },
            Entry::StepStarted { key, attempt, agent } => {
                Self::StepStarted { step: key.step.clone(), index: key.index, agent: agent.clone(), attempt: *attempt }
            }
            Entry::StepDone { key, duration_ms, .. } => ended(key, "done", *duration_ms, None),
            Entry::StepSkipped { key } => ended(key, "skipped", 0, None),
            Entry::StepRetried { key, cause, after_ms, .. } => {
                Self::StepRetried { step: key.step.clone(), cause: cause.clone(), after_ms: *after_ms }
            }
            Entry::StepFailed { key, cause, duration_ms, .. } => ended(key, "failed", *duration_ms, Some(cause)),
            Entry::StepCancelled { key } => ended(key, "cancelled", 0, None),
            Entry::ApprovalRequested { key, prompt } => {
                Self::ApprovalRequested { step: key.step.clone(), prompt: prompt.clone() }
            }
            Entry::ApprovalResolved { key, approved, by } => {
                Self::ApprovalResolved { step: key.step.clone(), approved: *approved, by: by.to_string() }
            }
            Entry::StepCompensationEnded { key, cause, duration_ms, .. } => {
                let state = if cause.is_some() { "not_compensated" } else { "compensated" };
                ended(key, state, *duration_ms, cause.as_ref())
            }
            Entry::RunResumed { definitions_changed, .. } => {
                Self::RunResumed { definitions_changed: *definitions_changed }
            }
            Entry::RunEnded { reply } => Self::RunEnded { reply: reply.clone() },
            Entry::StepReady { .. }
            | Entry::NestedRetryTaken
            | Entry::ItemsExpanded { .. }
            | Entry::CancelRequested { .. }
            | Entry::DeadlinePassed
            | Entry::RunCompensationStarted { .. }
            | Entry::StepCompensationStarted { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::UserId;

    #[test]
    fn watching_shows_what_the_journal_says_and_no_bookkeeping() {
        let step = StepId::new("a").unwrap_or_else(|_| unreachable!());
        let key = StepKey { step: step.clone(), index: Some(2) };
        let started = Entry::StepStarted { key: key.clone(), attempt: 1, agent: None };
        assert_eq!(
            RunEventKind::of(&started),
            Some(RunEventKind::StepStarted { step: step.clone(), index: Some(2), agent: None, attempt: 1 })
        );
        let skipped = RunEventKind::of(&Entry::StepSkipped { key });
        assert!(matches!(skipped, Some(RunEventKind::StepEnded { status, .. }) if status == "skipped"));
        assert_eq!(RunEventKind::of(&Entry::StepReady { step }), None);
        let by = UserId::new("admin").unwrap_or_else(|_| unreachable!());
        assert_eq!(RunEventKind::of(&Entry::CancelRequested { by }), None);
    }
}
