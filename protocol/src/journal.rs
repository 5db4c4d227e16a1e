//! What a run remembers. The state of a run is the fold of its entries, so an entry that was never
//! written never happened, and one that was is never done again.
//!
//! The journal grows with what changed, never with the whole state: a result above
//! [`crate::limits::INLINE_VALUE_BYTES_MAX`] lies in the artifact store and is named here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Cause;
use crate::hash::ContentHash;
use crate::id::{AgentId, RunId, StepId, TeamId, TraceId, UserId, WorkflowId};
use crate::reply::{Reply, Usage};
use crate::request::CallOptions;
use crate::time::{Deadline, Timestamp};
use crate::value::{ArtifactRef, Values};

/// A step, or one item of a `for_each` step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct StepKey {
    /// The step.
    pub step: StepId,
    /// Its place in a `for_each`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
}

/// Where a result lies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultRef {
    /// Here.
    Inline(Values),
    /// In the artifact store, as JSON.
    Stored(ArtifactRef),
}

/// What a run needs to begin, and what it is pinned to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunStarted {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: WorkflowId,
    /// The version of the workflow that it is pinned to.
    pub version: ContentHash,
    /// The versions of the agents that it is pinned to.
    pub agents: std::collections::BTreeMap<AgentId, ContentHash>,
    /// The team that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<TeamId>,
    /// The run that called this one as a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    /// Its owner, who is read anew when it resumes.
    pub owner: UserId,
    /// Its inputs.
    pub inputs: ResultRef,
    /// Its context at the start.
    pub context: ResultRef,
    /// What differs from the definition.
    pub options: CallOptions,
    /// When it must have ended.
    pub deadline: Deadline,
    /// Steps of its plan.
    pub steps: u32,
    /// Retries that all steps have together.
    pub retry_budget: u32,
    /// The team's members; empty without a team.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<AgentId>,
    /// The checks that the policy proved for the request that started it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
}

impl RunStarted {
    /// The agent that a step means, and the version that the run is pinned to: the agent of this id,
    /// or the first of this id with a trailing `_NNN`.
    #[must_use]
    pub fn agent(&self, written: &AgentId) -> Option<(&AgentId, ContentHash)> {
        let ordinal = |id: &AgentId| {
            let rest = id.as_str().strip_prefix(written.as_str())?.strip_prefix('_')?;
            (!rest.is_empty() && rest.bytes().all(|digit| digit.is_ascii_digit())).then_some(())
        };
        let exact = self.agents.get_key_value(written);
        let found = exact.or_else(|| self.agents.iter().find(|(id, _)| ordinal(id).is_some()));
        found.map(|(id, hash)| (id, *hash))
    }
}

/// One entry of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// The run has begun.
    RunStarted(Box<RunStarted>),
    /// All that a step depends on is there, and its condition, items or question are being worked out.
    StepReady {
        /// The step.
        step: StepId,
    },
    /// A `for_each` step found its items.
    ItemsExpanded {
        /// The step.
        step: StepId,
        /// How many items.
        items: u32,
        /// Those, by their place, whose condition was false.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        skipped: Vec<u32>,
    },
    /// A step is about to be tried.
    StepStarted {
        /// The step.
        key: StepKey,
        /// 1 for the first attempt.
        attempt: u32,
        /// Who does it, where it is an agent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentId>,
    },
    /// A step gave its result.
    StepDone {
        /// The step.
        key: StepKey,
        /// The attempt that did it.
        attempt: u32,
        /// Its outputs.
        result: ResultRef,
        /// The hash of the outputs' canonical JSON.
        hash: ContentHash,
        /// What it took.
        usage: Usage,
        /// From the start of the attempt to its end.
        duration_ms: u64,
    },
    /// A step's condition was false, or what it refers to was skipped.
    StepSkipped {
        /// The step.
        key: StepKey,
    },
    /// A step will be tried again.
    StepRetried {
        /// The step.
        key: StepKey,
        /// The attempt that failed.
        attempt: u32,
        /// Why.
        cause: Cause,
        /// When it is tried again.
        at: Timestamp,
        /// How long that is away.
        after_ms: u64,
        /// What the failed attempt took.
        usage: Usage,
    },
    /// A call below the run took one of the run's retries.
    NestedRetryTaken,
    /// A step failed for good.
    StepFailed {
        /// The step.
        key: StepKey,
        /// The attempt that failed; 0 if none was made.
        attempt: u32,
        /// Why.
        cause: Cause,
        /// What the failed attempt took.
        usage: Usage,
        /// From the start of the attempt to its end.
        duration_ms: u64,
    },
    /// A step was stopped.
    StepCancelled {
        /// The step.
        key: StepKey,
    },
    /// A step waits for a person.
    ApprovalRequested {
        /// The step.
        key: StepKey,
        /// What the person is asked.
        prompt: String,
    },
    /// A person answered.
    ApprovalResolved {
        /// The step.
        key: StepKey,
        /// What they said.
        approved: bool,
        /// Who.
        by: UserId,
    },
    /// Somebody asked the run to stop.
    CancelRequested {
        /// Who.
        by: UserId,
    },
    /// The run's deadline passed.
    DeadlinePassed,
    /// What was done is being undone, because of this.
    RunCompensationStarted {
        /// Why.
        cause: Cause,
        /// After which the rest is left as it is.
        give_up_at: Timestamp,
    },
    /// The undoing of a step is about to be tried.
    StepCompensationStarted {
        /// The step.
        key: StepKey,
        /// 1 for the first attempt.
        attempt: u32,
    },
    /// A step was undone, or could not be.
    StepCompensationEnded {
        /// The step.
        key: StepKey,
        /// Why not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
        /// What it took.
        usage: Usage,
        /// From the start of the last attempt to its end.
        duration_ms: u64,
    },
    /// The run was taken up again after its process ended.
    RunResumed {
        /// True if the definitions have changed since it began; it goes on with those it is pinned to.
        definitions_changed: bool,
        /// When it must have ended now: the time that its process was dead does not count.
        deadline: Deadline,
    },
    /// The run has ended; nothing follows.
    RunEnded {
        /// The answer.
        reply: Box<Reply>,
    },
}
