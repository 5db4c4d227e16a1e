//! What a run waits for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{RunId, StepId};
use crate::time::Timestamp;

/// A step that awaits an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingApproval {
    /// The run of the step, by which the step is approved or rejected.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// Since when.
    pub since: Timestamp,
    /// The time at which the step fails without an approval; absent if it waits without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}
