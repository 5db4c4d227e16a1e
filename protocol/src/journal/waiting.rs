//! What a run waits for.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conversation::PendingToolCall;
use crate::id::{ContextKey, EventName, RunId, StepId};
use crate::time::Timestamp;

/// A step that awaits an approval: before it starts, or because its agent has called tools that need one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingApproval {
    /// The run of the step, by which the step is approved or rejected.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// The index of the item in a `for_each`, from 0, whose agent has called a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Since when.
    pub since: Timestamp,
    /// The time at which the step fails without an approval; absent if it waits without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The calls of tools that wait; none if the step itself does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<PendingToolCall>,
}

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitTarget {
    /// A value under this key of the context of the run.
    Context(ContextKey),
    /// An event of this name, which is published to the run.
    Event(EventName),
}

impl fmt::Display for WaitTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context(key) => write!(f, "the context key `{key}`"),
            Self::Event(name) => write!(f, "the event `{name}`"),
        }
    }
}

/// A step that waits for a value of the context or for an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingWait {
    /// The run of the step, to which the event is published.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// What it waits for.
    pub target: WaitTarget,
    /// Since when.
    pub since: Timestamp,
    /// The time at which the attempt fails; absent if it waits without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}
