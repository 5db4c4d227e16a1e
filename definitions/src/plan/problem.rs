//! Problems of a workflow, with the part of the definition that has them.

use std::fmt;

use greenroom_protocol::StepId;

use crate::problem::ProblemKind;

/// A part of a workflow or a step, from which the loader derives the line of a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanPart {
    /// The step, or the workflow, as a whole.
    Whole,
    /// A member of that name: `depends_on`, `when`, …
    Member(&'static str),
    /// One input, or one of the workflow's outputs, by name.
    Entry(&'static str, String),
}

/// A problem of a workflow and its location in the definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanProblem {
    /// The step; `None` means the workflow itself.
    pub step: Option<StepId>,
    /// The part of it.
    pub part: PlanPart,
    /// The kind of problem.
    pub kind: ProblemKind,
    /// The message.
    pub message: String,
}

impl fmt::Display for PlanProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some(step) => write!(f, "step `{step}`: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}
