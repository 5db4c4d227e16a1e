//! What a run wants done, once its journal says so.

use std::time::Duration;

use greenroom_protocol::journal::StepKey;
use greenroom_protocol::{AgentId, CallKey, ContentHash, Reply, StepId, TeamId, Timestamp, WorkflowId};

/// Who is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallTarget {
    /// An agent, in the version that the run is pinned to.
    Agent {
        /// Which.
        agent: AgentId,
        /// The version.
        version: ContentHash,
    },
    /// Another workflow; its run pins its own version when it begins.
    Workflow {
        /// Which.
        workflow: WorkflowId,
    },
    /// A team that is formed for this step.
    Team {
        /// Which.
        team: TeamId,
        /// What it runs.
        workflow: WorkflowId,
    },
}

/// Names a timer of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerId {
    /// The run must have ended.
    Deadline,
    /// A step is tried again.
    Retry(StepKey),
    /// The undoing must have ended.
    Undo,
}

/// One thing that a run wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Work out a step's condition, items and question: answered by `Event::Weighed`.
    EvaluateStep {
        /// The step.
        step: StepId,
    },
    /// Call somebody: answered by `Event::Answered`.
    Call {
        /// The step.
        key: StepKey,
        /// 1 for the first attempt.
        attempt: u32,
        /// Who.
        target: CallTarget,
        /// The idempotency key, the same for every attempt.
        call: CallKey,
    },
    /// Undo a step: answered by `Event::Undone`.
    Compensate {
        /// The step.
        key: StepKey,
        /// 1 for the first attempt.
        attempt: u32,
        /// Who undoes it.
        target: CallTarget,
        /// The idempotency key, the same for every attempt.
        call: CallKey,
        /// How long to wait first.
        after: Duration,
    },
    /// Wake the run at a moment: answered by `Event::Woke`.
    SetTimer {
        /// Which timer.
        timer: TimerId,
        /// When.
        at: Timestamp,
    },
    /// Stop whatever is under way for a step; nothing answers.
    Abort {
        /// The step.
        key: StepKey,
    },
    /// Put the outputs together: answered by `Event::Gathered`.
    CollectOutputs,
    /// Answer whoever waits, and leave.
    Finish {
        /// The answer.
        reply: Box<Reply>,
    },
}
