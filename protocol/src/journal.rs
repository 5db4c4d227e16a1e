//! The journal of a run. The state of a run is the fold of its entries: an effect without an entry
//! has not happened, and an effect with an entry is not repeated.
//!
//! An entry records a change, never the whole state: a result above
//! [`crate::limits::INLINE_VALUE_BYTES_MAX`] is stored as an artifact and referenced here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversation::SuspendedCall;
use crate::error::Cause;
use crate::hash::ContentHash;
use crate::id::{
    AgentId, ContextKey, EventId, PrincipalId, RunId, StepId, TeamId, ToolCallId, TraceId, UserId, WorkflowId,
};
use crate::money::SpendingLimits;
use crate::reply::{Reply, Usage};
use crate::request::{CallOptions, ContextChange, PublishedEvent};
use crate::time::{Deadline, Timestamp};
use crate::value::{ArtifactRef, Values};

mod items;
mod skip;
mod versions;
mod waiting;
mod written;

pub use items::{ItemChunk, ItemList};
pub use skip::SkipReason;
pub use versions::InnerVersions;
pub use waiting::{PendingApproval, PendingWait, WaitTarget};

/// A step, or one item of a `for_each` step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct StepKey {
    /// The step.
    pub step: StepId,
    /// The index of the item in a `for_each`, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
}

/// A result, inline or by reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultRef {
    /// The result itself.
    Inline(Values),
    /// A JSON document in the artifact store.
    Stored(ArtifactRef),
}

/// The parameters of a run, and the versions that it is pinned to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunStarted {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: WorkflowId,
    /// The version of the workflow that it is pinned to.
    pub version: ContentHash,
    /// The versions of the agents that it is pinned to.
    pub agents: BTreeMap<AgentId, ContentHash>,
    /// The versions of the definitions of all runs below it that it is pinned to.
    #[serde(default, skip_serializing_if = "InnerVersions::is_empty")]
    pub inner: InnerVersions,
    /// The team that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<TeamId>,
    /// The run that the team was formed for, which names the shared context: this one, or one that called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team_run: Option<RunId>,
    /// The run that called this one as a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    /// The outermost run of its tree; its own id if no run called it.
    pub root: RunId,
    /// Its owner, whose roles and permissions are read again at each of its hops.
    pub owner: PrincipalId,
    /// Its inputs.
    pub inputs: ResultRef,
    /// Its context at the start.
    pub context: ResultRef,
    /// Overrides of the definition.
    pub options: CallOptions,
    /// The limits on its spending and that of all runs below it: the tightest of its request, its workflow and its
    /// team.
    #[serde(default, skip_serializing_if = "SpendingLimits::is_empty")]
    pub limits: SpendingLimits,
    /// The time by which it must have ended. Waiting for an approval extends it.
    pub deadline: Deadline,
    /// The deadline of the user's request that waits for the run; nothing extends it. Absent for a detached run and
    /// for one that another run called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_deadline: Option<Deadline>,
    /// The number of steps in its plan.
    pub steps: u32,
    /// The number of retries that its tree had left when it started; all runs of a tree share them.
    pub retry_budget: u32,
    /// The team's members; empty without a team.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<AgentId>,
    /// The checks that the policy passed for the request that started it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// The policies that bind every request of the run: those of its workflow, and those of the definitions
    /// that called it. A resumed run has them again. Absent in a journal of a release without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<String>>,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
}

impl RunStarted {
    /// Returns the agent that a step names and its pinned version: the agent with exactly this id, or
    /// the first one whose id is this one plus `_NNN`.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<(&AgentId, ContentHash)> {
        versions::find_agent(&self.agents, id)
    }
}

/// One entry of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// The run started.
    RunStarted(Box<RunStarted>),
    /// The dependencies of a step are finished; its condition, items or approval prompt are evaluated.
    StepReady {
        /// The step.
        step: StepId,
    },
    /// The items of a `for_each` step were evaluated.
    ItemsExpanded {
        /// The step.
        step: StepId,
        /// The number of items.
        items: u32,
        /// The indexes of the items whose condition was false.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        skipped: Vec<u32>,
        /// The items themselves, which a resumed run takes from here. Absent in a journal of a release without them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        list: Option<ItemList>,
    },
    /// An attempt of a step starts.
    StepStarted {
        /// The step.
        key: StepKey,
        /// 1 for the first attempt.
        attempt: u32,
        /// The agent that executes it, if the step names an agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentId>,
    },
    /// A step completed.
    StepDone {
        /// The step.
        key: StepKey,
        /// The attempt that completed.
        attempt: u32,
        /// Its outputs.
        result: ResultRef,
        /// The hash of the outputs' canonical JSON.
        hash: ContentHash,
        /// Its usage.
        usage: Usage,
        /// From the start of the attempt to its end.
        duration_ms: u64,
    },
    /// A step was skipped.
    StepSkipped {
        /// The step.
        key: StepKey,
        /// Why. Absent in a journal of a release without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<SkipReason>,
    },
    /// An attempt failed, and the step will be retried.
    StepRetried {
        /// The step.
        key: StepKey,
        /// The attempt that failed.
        attempt: u32,
        /// The cause.
        cause: Cause,
        /// The time of the next attempt.
        at: Timestamp,
        /// The delay until the next attempt.
        after_ms: u64,
        /// The usage of the failed attempt.
        usage: Usage,
    },
    /// A nested call took one retry of the run's retry budget.
    NestedRetryTaken,
    /// A step failed without another retry.
    StepFailed {
        /// The step.
        key: StepKey,
        /// The attempt that failed; 0 if the step failed before its first attempt.
        attempt: u32,
        /// The cause.
        cause: Cause,
        /// The usage of the failed attempt.
        usage: Usage,
        /// From the start of the attempt to its end.
        duration_ms: u64,
    },
    /// A step was cancelled.
    StepCancelled {
        /// The step.
        key: StepKey,
    },
    /// A step awaits approval.
    ApprovalRequested {
        /// The step.
        key: StepKey,
        /// The approval prompt.
        prompt: String,
        /// The time at which the step fails without an approval; absent if it waits without limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// The run that a step called awaits approvals, events or a late retry, or no longer does.
    CallAwaitsApproval {
        /// The step.
        key: StepKey,
        /// The steps that await an approval, of the called run and of the runs that it called; empty if none does.
        approvals: Vec<PendingApproval>,
        /// The steps of these runs that wait for a value of the context or for an event.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        waits: Vec<PendingWait>,
        /// True if the called run does nothing else, so that the time of the calling run does not pass either.
        idle: bool,
        /// When the called run continues, if it does nothing but wait for a retry until then. Its time passes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    },
    /// A user approved or rejected a step.
    ApprovalResolved {
        /// The step.
        key: StepKey,
        /// True if approved.
        approved: bool,
        /// The user.
        by: UserId,
    },
    /// The agent of a step called tools that need an approval, and its execution ended.
    ToolApprovalRequested {
        /// The step.
        key: StepKey,
        /// The attempt that continues with the decisions.
        attempt: u32,
        /// The conversation so far, and the calls that wait.
        suspended: SuspendedCall,
        /// The usage so far.
        usage: Usage,
    },
    /// A user approved or rejected calls of tools. With the last of them, the step continues.
    ToolApprovalResolved {
        /// The step.
        key: StepKey,
        /// The calls.
        calls: Vec<ToolCallId>,
        /// True if approved.
        approved: bool,
        /// The user.
        by: UserId,
        /// Why they were rejected, if the user gave a reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The calls of the step that still wait.
        remaining: u32,
    },
    /// A step waits for a value of the context, or for an event.
    WaitStarted {
        /// The step.
        key: StepKey,
        /// 1 for the first attempt.
        attempt: u32,
        /// What it waits for.
        target: WaitTarget,
        /// The time at which the attempt fails; absent if it waits without limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// An event was published to the run. The first step that waits for its name, now or later, completes with it.
    EventReceived {
        /// The id of the publication, by which a repetition is recognised.
        id: EventId,
        /// The event.
        event: PublishedEvent,
        /// The user.
        by: UserId,
    },
    /// A user requested that the run be cancelled.
    CancelRequested {
        /// The user.
        by: UserId,
    },
    /// The run's deadline passed.
    DeadlinePassed,
    /// Compensation of the finished steps started, also in the runs whose calls have ended without a result.
    RunCompensationStarted {
        /// The cause.
        cause: Cause,
        /// The time after which no further step is compensated.
        give_up_at: Timestamp,
    },
    /// An attempt to compensate a step starts.
    StepCompensationStarted {
        /// The step.
        key: StepKey,
        /// 1 for the first attempt.
        attempt: u32,
    },
    /// A step was compensated, or its compensation failed.
    StepCompensationEnded {
        /// The step.
        key: StepKey,
        /// The cause of a failed compensation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
        /// Its usage.
        usage: Usage,
        /// From the start of the last attempt to its end.
        duration_ms: u64,
    },
    /// A value of the team's shared context changed. The number of the entry is the version of the value.
    ContextChanged {
        /// The key.
        key: ContextKey,
        /// The change.
        change: ContextChange,
        /// When the value expires.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// The id of the write, by which a repetition is recognised, if another pod has sent it to the owner of the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<EventId>,
        /// The request of the handler of an agent that has written it, the same for each write of this key by one call. Absent
        /// for all other writes, and in a journal of a release without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<EventId>,
    },
    /// The run resumed after its process ended.
    RunResumed {
        /// True if the definitions changed since the start; the run keeps its pinned versions.
        definitions_changed: bool,
        /// The new deadline: the time without a process does not count.
        deadline: Deadline,
        /// The steps whose attempts were interrupted and start again, under the same keys. Absent in a journal of a
        /// release without them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        restarts: Vec<StepKey>,
    },
    /// The tree of the run was given up: each attempt to resume it failed, or its pod died. Only a root has this entry,
    /// and it has not ended.
    RunGivenUp {
        /// Why.
        cause: Cause,
        /// How often the tree has failed since one of its runs last made progress.
        failures: u32,
        /// How often its owner has died since then.
        attempts: u32,
    },
    /// A user has the run continued that was given up.
    RunReopened {
        /// The user.
        by: UserId,
    },
    /// The run ended; this is its last entry.
    RunEnded {
        /// The reply.
        reply: Box<Reply>,
    },
}
