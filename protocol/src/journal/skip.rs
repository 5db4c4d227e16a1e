//! Why a step was skipped.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::StepId;

/// Why a step was skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SkipReason {
    /// Its condition is false.
    ConditionFalse,
    /// Its condition reads an output of skipped steps without testing it with `has()`.
    ConditionAbsent {
        /// The skipped steps.
        steps: Vec<StepId>,
    },
    /// Every step to which it refers was skipped.
    ReferencesSkipped {
        /// The skipped steps.
        steps: Vec<StepId>,
    },
    /// It needs a value of skipped steps.
    ValueAbsent {
        /// The value: `inputs.NAME`, `for_each` or `approval`.
        value: String,
        /// The skipped steps.
        steps: Vec<StepId>,
    },
    /// A reason of a later release.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConditionFalse => f.write_str("its condition is false"),
            Self::ConditionAbsent { steps } => {
                write!(f, "its condition reads an output of {}, which was skipped", names(steps))
            }
            Self::ReferencesSkipped { steps } => write!(f, "it refers only to {}, which was skipped", names(steps)),
            Self::ValueAbsent { value, steps } => {
                write!(f, "its `{value}` needs an output of {}, which was skipped", names(steps))
            }
            Self::Unknown => f.write_str("for a reason that this release does not know"),
        }
    }
}

fn names(steps: &[StepId]) -> String {
    let quoted: Vec<String> = steps.iter().map(|step| format!("`{step}`")).collect();
    quoted.join(" and ")
}
