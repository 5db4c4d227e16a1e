//! The events that a run processes.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_protocol::journal::{ItemList, ResultRef, RunStarted, SkipReason, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{ContextChange, PublishedEvent};
use greenroom_protocol::{
    Cause, ContentHash, ContextKey, Deadline, EventId, Json, StepId, Timestamp, ToolCallId, UserId, Values,
};

use super::counts::CallWaits;
use super::effect::TimerId;

/// The result of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum CallResult {
    /// The call completed.
    Completed {
        /// Its result.
        result: ResultRef,
        /// The hash of its outputs' canonical JSON.
        hash: ContentHash,
        /// Its usage.
        usage: Usage,
        /// What it provides to the team of the run.
        provided: BTreeMap<ContextKey, Json>,
    },
    /// The call failed.
    Failed {
        /// Why.
        cause: Cause,
        /// Its usage.
        usage: Usage,
    },
}

/// The evaluated condition, items and approval prompt of a step. By default, the step is executed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepEvaluation {
    /// Why it is skipped, if it is.
    pub skip: Option<SkipReason>,
    /// Number of items in its list.
    pub item_count: Option<u32>,
    /// The list itself.
    pub item_list: Option<ItemList>,
    /// Indexes of the items whose condition is false.
    pub skipped_items: Vec<u32>,
    /// The prompt for the approval.
    pub approval_prompt: Option<String>,
}

/// A decision of a user about calls of tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResolution {
    /// The step.
    pub step: StepId,
    /// The calls, of which those that do not wait are ignored.
    pub calls: Vec<ToolCallId>,
    /// True if they may be made.
    pub approved: bool,
    /// Who.
    pub by: UserId,
    /// Why they were rejected.
    pub reason: Option<String>,
}

/// One event of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The run starts.
    Started(Arc<RunStarted>),
    /// The run is resumed.
    Resumed {
        /// True if the definitions have changed since its start.
        definitions_changed: bool,
        /// The new deadline.
        deadline: Deadline,
    },
    /// The condition, items and prompt of a step were evaluated.
    StepEvaluated {
        /// The step.
        step: StepId,
        /// The evaluation.
        evaluation: Result<StepEvaluation, Cause>,
    },
    /// A call has returned, or the context has the value for which a step waits.
    CallCompleted {
        /// The step.
        key: StepKey,
        /// The attempt of the result.
        attempt: u32,
        /// The outcome.
        result: CallResult,
    },
    /// A call below the run took one of its retries.
    RetryTaken,
    /// A compensation has returned.
    Compensated {
        /// The step.
        key: StepKey,
        /// The attempt of the result.
        attempt: u32,
        /// The cause, if the compensation failed.
        cause: Option<Cause>,
        /// Its usage.
        usage: Usage,
    },
    /// A permitted write of the team's context, which was decided on the context.
    ContextWritten {
        /// The key.
        key: ContextKey,
        /// The change.
        change: ContextChange,
        /// When the value expires.
        until: Option<Timestamp>,
        /// The id of a write that another pod has sent.
        id: Option<EventId>,
        /// The request of the handler of an agent that writes it.
        request: Option<EventId>,
    },
    /// A timer has fired.
    TimerFired {
        /// Which.
        timer: TimerId,
    },
    /// The run that a step called waits for other approvals than before.
    CallWaits {
        /// The step.
        key: StepKey,
        /// What it waits for.
        waits: CallWaits,
    },
    /// A user published an event to the run.
    EventPublished {
        /// The id of the publication.
        id: EventId,
        /// The event.
        event: PublishedEvent,
        /// Who.
        by: UserId,
    },
    /// A user approved a step.
    Approved {
        /// The step.
        step: StepId,
        /// Who.
        by: UserId,
    },
    /// A user rejected a step.
    Rejected {
        /// The step.
        step: StepId,
        /// Who.
        by: UserId,
        /// Why.
        reason: Option<String>,
    },
    /// A user approved or rejected calls of tools.
    ToolCallsResolved(ToolResolution),
    /// A user cancelled the run.
    CancelRequested {
        /// Who.
        by: UserId,
    },
    /// The run is terminated from outside.
    Terminated {
        /// Why.
        cause: Cause,
    },
    /// All runs that the steps have called have ended.
    InnerRunsEnded,
    /// The outputs of the run were collected.
    OutputsCollected {
        /// The outputs.
        outputs: Result<Values, Cause>,
    },
}
