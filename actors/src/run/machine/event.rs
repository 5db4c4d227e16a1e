//! What a run is told.

use std::sync::Arc;

use greenroom_protocol::journal::{ResultRef, RunStarted, StepKey};
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{Cause, ContentHash, Deadline, StepId, UserId, Values};

use super::effect::TimerId;

/// What came of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum CallResult {
    /// It was done.
    Completed {
        /// What it gave.
        result: ResultRef,
        /// The hash of its outputs' canonical JSON.
        hash: ContentHash,
        /// What it took.
        usage: Usage,
    },
    /// It was not.
    Failed {
        /// Why.
        cause: Cause,
        /// What it took.
        usage: Usage,
    },
}

/// What a step's condition, items and question come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepEvaluation {
    /// False if the condition is.
    pub runs: bool,
    /// How many items its list has.
    pub item_count: Option<u32>,
    /// The items, by their place, whose condition is false.
    pub skipped_items: Vec<u32>,
    /// What a person is asked.
    pub approval_prompt: Option<String>,
}

/// One thing that a run is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It may begin.
    Started(Arc<RunStarted>),
    /// It goes on in a new process.
    Resumed {
        /// True if the definitions have changed since it began.
        definitions_changed: bool,
        /// When it must have ended now.
        deadline: Deadline,
    },
    /// A step's condition, items and question were worked out.
    StepEvaluated {
        /// The step.
        step: StepId,
        /// What they come to.
        weight: Result<StepEvaluation, Cause>,
    },
    /// A call came back.
    CallCompleted {
        /// The step.
        key: StepKey,
        /// The attempt that the answer belongs to.
        attempt: u32,
        /// What came of it.
        answer: CallResult,
    },
    /// A call below the run took one of its retries.
    RetryTaken,
    /// An undoing came back.
    Compensated {
        /// The step.
        key: StepKey,
        /// The attempt that the answer belongs to.
        attempt: u32,
        /// Why not, if it could not be undone.
        cause: Option<Cause>,
        /// What it took.
        usage: Usage,
    },
    /// A timer went off.
    TimerFired {
        /// Which.
        timer: TimerId,
    },
    /// A person let the waiting step go on.
    Approved {
        /// The step.
        step: StepId,
        /// Who.
        by: UserId,
    },
    /// A person let the waiting step fail.
    Rejected {
        /// The step.
        step: StepId,
        /// Who.
        by: UserId,
    },
    /// Somebody asked the run to stop.
    CancelRequested {
        /// Who.
        by: UserId,
    },
    /// The run may not go on, for a reason that lies outside of it.
    Terminated {
        /// Why.
        cause: Cause,
    },
    /// The run's outputs were put together.
    OutputsCollected {
        /// What they are.
        outputs: Result<Values, Cause>,
    },
}
