//! What watching a run shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Cause;
use crate::id::{AgentId, RunId, StepId};
use crate::reply::{Reply, Status};
use crate::time::Timestamp;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
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

impl RunState {
    /// True if nothing will change any more.
    #[must_use]
    pub const fn is_ended(self) -> bool {
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

impl From<Status> for RunState {
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
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The run has begun.
    RunStarted {
        /// Steps of its plan.
        steps: u32,
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
        /// `done`, `skipped`, `failed`, `cancelled` or `compensated`.
        state: String,
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
    ApprovalAsked {
        /// The step.
        step: StepId,
        /// What the person is asked.
        prompt: String,
    },
    /// A person answered.
    ApprovalAnswered {
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
