//! The effects of a run, released once their entries are durable.

use std::time::Duration;

use greenroom_protocol::journal::StepKey;
use greenroom_protocol::{AgentId, CallKey, ContentHash, ContextKey, Reply, StepId, TeamId, Timestamp, WorkflowId};

/// The target of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallTarget {
    /// An agent, in the version that the run is pinned to.
    Agent {
        /// Which.
        agent: AgentId,
        /// The version.
        version: ContentHash,
    },
    /// Another workflow; its run pins its own version at its start.
    Workflow {
        /// Which.
        workflow: WorkflowId,
    },
    /// A team that is formed for this step.
    Team {
        /// Which.
        team: TeamId,
        /// The workflow that it runs.
        workflow: WorkflowId,
    },
}

/// Identifies a timer of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerId {
    /// The deadline of the run.
    Deadline,
    /// The deadline of the request that waits for the run.
    RequestDeadline,
    /// The end of the time for an approval.
    Approval(StepId),
    /// The end of the time for which a step waits for a value or for an event.
    Wait(StepId),
    /// The retry of a step.
    Retry(StepKey),
    /// The end of the time for compensation.
    Compensation,
}

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Evaluate the condition, items and prompt of a step; ends in `Event::StepEvaluated`.
    EvaluateStep {
        /// The step.
        step: StepId,
    },
    /// Call a target; ends in `Event::CallCompleted`.
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
    /// Wait until the context has a value; ends in `Event::CallCompleted`.
    AwaitContext {
        /// The step.
        key: StepKey,
        /// 1 for the first attempt.
        attempt: u32,
        /// The key of the context.
        context: ContextKey,
    },
    /// Compensate a step; ends in `Event::Compensated`.
    Compensate {
        /// The step.
        key: StepKey,
        /// 1 for the first attempt.
        attempt: u32,
        /// The agent that compensates it.
        target: CallTarget,
        /// The idempotency key, the same for every attempt.
        call: CallKey,
        /// The delay before the call.
        after: Duration,
    },
    /// Set a timer; ends in `Event::TimerFired`.
    SetTimer {
        /// Which timer.
        timer: TimerId,
        /// When.
        at: Timestamp,
    },
    /// Abort the effects in flight of a step; no event follows.
    Abort {
        /// The step.
        key: StepKey,
    },
    /// End the runs that no step needs any more, and wait until they have ended; ends in `Event::InnerRunsEnded`.
    EndInnerRuns,
    /// Collect the outputs, after the end of the runs that no step needs any more; ends in `Event::OutputsCollected`.
    CollectOutputs,
    /// Send the reply to waiting callers and stop the actor.
    Finish {
        /// The reply.
        reply: Box<Reply>,
    },
}
