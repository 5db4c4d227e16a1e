//! What is wrong with a workflow, and in which part of it.

use std::fmt;

use greenroom_protocol::StepId;

use crate::problem::ProblemKind;

/// A part of a workflow or of a step, so that a fault finds its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanPart {
    /// The step, or the workflow, as a whole.
    Whole,
    /// A member of that name: `depends_on`, `when`, …
    Member(&'static str),
    /// One input, or one of the workflow's outputs, by name.
    Entry(&'static str, String),
}

/// What is wrong with a workflow, and in which part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanProblem {
    /// The step; none means the workflow itself.
    pub step: Option<StepId>,
    /// Which part of it.
    pub part: PlanPart,
    /// What kind of problem.
    pub kind: ProblemKind,
    /// What is wrong, as a sentence without its beginning.
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
