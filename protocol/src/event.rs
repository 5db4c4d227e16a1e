//! The events and statuses of a run that callers see.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversation::{PendingToolCall, SuspendedCall};
use crate::error::Cause;
use crate::id::{AgentId, EventName, RequestId, RunId, StepId};
use crate::journal::{Entry, PendingApproval, PendingWait, SkipReason, StepKey, WaitTarget};
use crate::reply::{Reply, Status};
use crate::time::Timestamp;
use crate::value::truncate_utf8;
use crate::version::WrittenVersion;

pub use crate::event_number::{EventNumber, InvalidEventNumber};

/// Bytes of the arguments of a call of a tool in the prompt for its approval; the run's pending approvals have all.
const PROMPT_ARGUMENTS_BYTES_MAX: usize = 1024;

/// The run that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchedRun {
    /// The run with this id.
    Id(RunId),
    /// The run that the watcher's request of this name starts. Until it has started, the watch waits.
    StartedBy(RequestId),
}

/// The status of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Accepted, not started.
    Queued,
    /// Active.
    Running,
    /// A step awaits approval.
    WaitingApproval,
    /// Given up: it has not ended, and no pod resumes it until a user has it continued.
    Dead,
    /// Completed.
    Success,
    /// Ended with an error.
    Failed,
    /// Denied by policy.
    Denied,
    /// Cancelled by a user.
    Cancelled,
    /// Ended by its deadline.
    TimedOut,
}

impl RunStatus {
    /// Every status, in the order in which a run can have them.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Running,
        Self::WaitingApproval,
        Self::Dead,
        Self::Success,
        Self::Failed,
        Self::Denied,
        Self::Cancelled,
        Self::TimedOut,
    ];

    /// True if the run has ended.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::WaitingApproval | Self::Dead => false,
            Self::Success | Self::Failed | Self::Denied | Self::Cancelled | Self::TimedOut => true,
        }
    }

    /// The status as it is written in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::WaitingApproval => "waiting_approval",
            Self::Dead => "dead",
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

/// One event of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunEvent {
    /// The run.
    pub run: RunId,
    /// The number of the journal entry that the event reports.
    pub seq: u64,
    /// Which of the events of that entry it is, from 0.
    #[serde(default, skip_serializing_if = "is_first")]
    pub n: u32,
    /// The time of the event.
    pub at: Timestamp,
    /// The version of the release that has written it.
    #[serde(default = "WrittenVersion::first", skip_serializing_if = "WrittenVersion::is_first")]
    pub protocol_version: WrittenVersion,
    /// The kind of event and its data.
    #[serde(flatten)]
    pub kind: RunEventKind,
}

/// The kinds of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEventKind {
    /// The run started.
    RunStarted {
        /// The number of steps in its plan.
        steps: u32,
    },
    /// The run resumed after its process ended.
    RunResumed {
        /// True if the definitions changed since the start; the run keeps its pinned versions.
        definitions_changed: bool,
    },
    /// An attempt of a step started.
    StepStarted {
        /// The step.
        step: StepId,
        /// The index of the item in a `for_each`, from 0.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<u32>,
        /// The agent that executes it, if the step names an agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentId>,
        /// 1 for the first attempt.
        attempt: u32,
    },
    /// An attempt of a step was interrupted and starts again: what it has written so far is void.
    StepRestarted {
        /// The step.
        step: StepId,
        /// The index of the item in a `for_each`, from 0.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<u32>,
    },
    /// A step ended.
    StepEnded {
        /// The step.
        step: StepId,
        /// The index of the item in a `for_each`, from 0.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<u32>,
        /// `done`, `skipped`, `failed`, `cancelled`, `compensated` or `not_compensated`.
        status: String,
        /// The time from start to end.
        duration_ms: u64,
        /// The cause, if the step failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
        /// The reason, if the step was skipped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<SkipReason>,
    },
    /// An attempt failed, and the step will be retried.
    StepRetried {
        /// The step.
        step: StepId,
        /// The cause.
        cause: Cause,
        /// The delay until the next attempt.
        after_ms: u64,
    },
    /// A step awaits approval.
    ApprovalRequested {
        /// The step.
        step: StepId,
        /// The approval prompt.
        prompt: String,
        /// The time at which the step fails without an approval; absent if it waits without limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A step waits for a value of the context, or for an event.
    WaitStarted {
        /// The step.
        step: StepId,
        /// What it waits for.
        target: WaitTarget,
        /// The time at which the attempt fails; absent if it waits without limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// An event was published to the run.
    EventReceived {
        /// Its name.
        name: EventName,
        /// The user.
        by: String,
    },
    /// The run that a step called awaits approvals or events.
    CallAwaitsApproval {
        /// The step.
        step: StepId,
        /// The index of the item in a `for_each`, from 0.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<u32>,
        /// The steps that await an approval, each with its run.
        approvals: Vec<PendingApproval>,
        /// The steps that wait for a value of the context or for an event, each with its run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        waits: Vec<PendingWait>,
    },
    /// A user approved or rejected a step.
    ApprovalResolved {
        /// The step.
        step: StepId,
        /// True if approved.
        approved: bool,
        /// The user.
        by: String,
    },
    /// The run was given up: it has not ended, and no pod resumes it until a user has it continued.
    RunGivenUp {
        /// The cause.
        cause: Cause,
    },
    /// A user has the run continued that was given up.
    RunReopened {
        /// The user.
        by: String,
    },
    /// The run ended; this is its last event.
    RunEnded {
        /// The reply.
        reply: Box<Reply>,
    },
    /// An event of a later release.
    #[serde(other)]
    Unknown,
}

impl RunEvent {
    /// All events that watchers see of a journal entry, in their order; none if the entry is internal. A resumption also
    /// restarts the steps that it interrupted.
    #[must_use]
    pub fn list_from_entry(run: &RunId, seq: u64, at: Timestamp, entry: &Entry) -> Vec<Self> {
        let restarts: &[StepKey] = if let Entry::RunResumed { restarts, .. } = entry { restarts } else { &[] };
        let restarted = restarts
            .iter()
            .map(|StepKey { step, index }| RunEventKind::StepRestarted { step: step.clone(), index: *index });
        let protocol_version = WrittenVersion::OWN;
        let events = (0..).zip(RunEventKind::from_entry(entry).into_iter().chain(restarted));
        events.map(|(n, kind)| Self { run: run.clone(), seq, n, at, protocol_version, kind }).collect()
    }

    /// The number of the event, after which a watch is resumed.
    #[must_use]
    pub const fn number(&self) -> EventNumber {
        EventNumber::new(self.seq, self.n)
    }
}

const fn is_first(n: &u32) -> bool {
    *n == 0
}

impl RunEventKind {
    /// Converts a journal entry to the event that a watcher sees; `None` if the entry is internal.
    #[must_use]
    pub fn from_entry(entry: &Entry) -> Option<Self> {
        let ended = |key: &StepKey, status: &str, duration_ms: u64, cause: Option<&Cause>| Self::StepEnded {
            step: key.step.clone(),
            index: key.index,
            status: status.to_owned(),
            duration_ms,
            cause: cause.cloned(),
            reason: None,
        };
        Some(match entry {
            Entry::RunStarted(started) => Self::RunStarted { steps: started.steps },
            Entry::StepStarted { key, attempt, agent } => {
                Self::StepStarted { step: key.step.clone(), index: key.index, agent: agent.clone(), attempt: *attempt }
            }
            Entry::StepDone { key, duration_ms, .. } => ended(key, "done", *duration_ms, None),
            Entry::StepSkipped { key, reason } => Self::StepEnded {
                step: key.step.clone(),
                index: key.index,
                status: "skipped".to_owned(),
                duration_ms: 0,
                cause: None,
                reason: reason.clone(),
            },
            Entry::StepRetried { key, cause, after_ms, .. } => {
                Self::StepRetried { step: key.step.clone(), cause: cause.clone(), after_ms: *after_ms }
            }
            Entry::StepFailed { key, cause, duration_ms, .. } => ended(key, "failed", *duration_ms, Some(cause)),
            Entry::StepCancelled { key } => ended(key, "cancelled", 0, None),
            Entry::ApprovalRequested { key, prompt, until } => {
                Self::ApprovalRequested { step: key.step.clone(), prompt: prompt.clone(), until: *until }
            }
            Entry::ToolApprovalRequested { key, suspended, .. } => requested_tools(key, suspended),
            Entry::CallAwaitsApproval { key, approvals, waits, .. } if !approvals.is_empty() || !waits.is_empty() => {
                Self::CallAwaitsApproval {
                    step: key.step.clone(),
                    index: key.index,
                    approvals: approvals.clone(),
                    waits: waits.clone(),
                }
            }
            Entry::WaitStarted { key, target, until, .. } => {
                Self::WaitStarted { step: key.step.clone(), target: target.clone(), until: *until }
            }
            Entry::EventReceived { event, by, .. } => {
                Self::EventReceived { name: event.name.clone(), by: by.to_string() }
            }
            Entry::ApprovalResolved { key, approved, by } | Entry::ToolApprovalResolved { key, approved, by, .. } => {
                Self::ApprovalResolved { step: key.step.clone(), approved: *approved, by: by.to_string() }
            }
            Entry::StepCompensationEnded { key, cause, duration_ms, .. } => {
                let status = if cause.is_some() { "not_compensated" } else { "compensated" };
                ended(key, status, *duration_ms, cause.as_ref())
            }
            Entry::RunResumed { definitions_changed, .. } => {
                Self::RunResumed { definitions_changed: *definitions_changed }
            }
            Entry::RunGivenUp { cause, .. } => Self::RunGivenUp { cause: cause.clone() },
            Entry::RunReopened { by } => Self::RunReopened { by: by.to_string() },
            Entry::RunEnded { reply } => Self::RunEnded { reply: reply.clone() },
            Entry::StepReady { .. }
            | Entry::CallAwaitsApproval { .. }
            | Entry::NestedRetryTaken
            | Entry::ItemsExpanded { .. }
            | Entry::CancelRequested { .. }
            | Entry::DeadlinePassed
            | Entry::RunCompensationStarted { .. }
            | Entry::StepCompensationStarted { .. }
            | Entry::ContextChanged { .. } => return None,
        })
    }
}

/// The request for the approval of calls of tools: its prompt has each with its tool and its arguments.
fn requested_tools(key: &StepKey, suspended: &SuspendedCall) -> RunEventKind {
    let item = key.index.map(|index| format!("[{index}]")).unwrap_or_default();
    let calls = suspended.calls.iter().map(|PendingToolCall { call, tool, arguments }| {
        let arguments = arguments.to_string();
        let excerpt = truncate_utf8(&arguments, PROMPT_ARGUMENTS_BYTES_MAX);
        let more = if excerpt.len() < arguments.len() { " …" } else { "" };
        format!("call {call}: {tool} {excerpt}{more}")
    });
    let calls: Vec<String> = calls.collect();
    let prompt = format!("{}{item} wants to use tools\n{}", key.step, calls.join("\n"));
    RunEventKind::ApprovalRequested { step: key.step.clone(), prompt, until: None }
}

#[cfg(test)]
mod tests;
