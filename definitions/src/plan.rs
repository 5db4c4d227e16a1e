//! The compiled form of a workflow: its steps in topological order, with declared and implied
//! dependencies, parsed expressions and compiled conditions.
//!
//! A plan belongs to one version of a workflow and needs nothing else to be interpreted. It names
//! agents as the workflow does; [`crate::Catalogue::pinned_versions`] returns their versions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use greenroom_protocol::journal::WaitTarget;
use greenroom_protocol::{AgentId, ContentHash, MicroUsd, StepId, TeamId, WorkflowId};

use crate::condition::Condition;
use crate::expr::Expr;
use crate::spec::agent::Retry;
use crate::spec::workflow::OnError;
use crate::types::Field;

mod compile;
mod named;
mod order;
mod problem;
mod target;

pub(crate) use order::order;

pub use problem::{PlanPart, PlanProblem};

/// Steps of one workflow.
pub const STEPS_MAX: usize = 200;
/// The timeout of the compensation of a run whose workflow has none.
pub const COMPENSATION_TIMEOUT: Duration = Duration::from_secs(120);

/// The executor of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepTarget {
    /// An agent, by the id that the workflow names.
    Agent(AgentId),
    /// Another workflow, as a run of its own.
    Workflow(WorkflowId),
    /// A team that runs a workflow.
    Team {
        /// The team.
        team: TeamId,
        /// The workflow that it runs.
        workflow: WorkflowId,
    },
    /// No executor: the step only awaits an approval.
    Approval,
    /// No executor: the step waits for a value of the context or for an event.
    Wait {
        /// What it waits for.
        target: WaitTarget,
        /// How long an attempt waits; none waits without limit.
        timeout: Option<Duration>,
    },
}

/// The name of the output of a step that waits.
pub const WAIT_OUTPUT: &str = "value";

/// A compiled step.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanStep {
    /// Its id.
    pub id: StepId,
    /// Its executor.
    pub target: StepTarget,
    /// The steps that must finish first, declared or implied, in the order of the plan.
    pub depends_on: Vec<StepId>,
    /// Its inputs.
    pub inputs: BTreeMap<String, Expr>,
    /// The names under which its outputs appear in the run's outputs.
    pub outputs: Vec<String>,
    /// The step is skipped if this is false.
    pub when: Option<Condition>,
    /// The step executes once for each item.
    pub for_each: Option<ForEach>,
    /// Retries; the default is the agent's.
    pub retry: Option<Retry>,
    /// The timeout of one attempt.
    pub timeout: Option<Duration>,
    /// The prompt for the approver, if the step requires an approval.
    pub approval: Option<Expr>,
    /// The longest wait for the approval; none waits without limit.
    pub approval_timeout: Option<Duration>,
    /// Its compensation.
    pub compensate: Option<Compensate>,
}

/// A compiled `for_each`.
#[derive(Debug, Clone, PartialEq)]
pub struct ForEach {
    /// The list.
    pub items: Expr,
    /// The maximum number of concurrent items; at least 1.
    pub max_concurrency: u32,
    /// The effect of a failed item.
    pub on_error: OnError,
    /// The names of outputs that the step declares or that the workflow references: those that have an empty list if
    /// no item has outputs.
    pub output_names: BTreeSet<String>,
}

/// A compiled compensation.
#[derive(Debug, Clone, PartialEq)]
pub struct Compensate {
    /// The agent that compensates the step.
    pub agent: AgentId,
    /// Its inputs.
    pub inputs: BTreeMap<String, Expr>,
}

/// A compiled workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The version of the workflow.
    pub hash: ContentHash,
    /// The inputs of a run; an empty list accepts any.
    pub inputs: Vec<Field>,
    /// The steps, each one after its dependencies.
    pub steps: Vec<PlanStep>,
    /// The outputs of a run, by name; if empty, every named output of every step.
    pub outputs: BTreeMap<String, Expr>,
    /// The output `final_output`.
    pub final_output: Option<Expr>,
    /// The maximum cost of one run.
    pub cost_max: Option<MicroUsd>,
    /// The maximum number of tokens of one run.
    pub tokens_max: Option<u64>,
    /// The timeout of one run.
    pub timeout: Option<Duration>,
    /// The timeout of the compensation of one run, counted from its start.
    pub compensation_timeout: Duration,
}

impl Plan {
    /// The step of that id.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&PlanStep> {
        self.steps.iter().find(|step| step.id == *id)
    }

    /// The agents that it names, compensating agents included.
    #[must_use]
    pub fn agents(&self) -> BTreeSet<&AgentId> {
        let targets = self.steps.iter().filter_map(|step| match &step.target {
            StepTarget::Agent(agent) => Some(agent),
            StepTarget::Workflow(_) | StepTarget::Team { .. } | StepTarget::Approval | StepTarget::Wait { .. } => None,
        });
        targets.chain(self.steps.iter().filter_map(|step| Some(&step.compensate.as_ref()?.agent))).collect()
    }

    /// True if a step waits for a value of the context or for an event.
    #[must_use]
    pub fn has_waits(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.target, StepTarget::Wait { .. }))
    }

    /// The workflows that it starts, alone or in a team.
    #[must_use]
    pub fn workflows(&self) -> BTreeSet<&WorkflowId> {
        let starts_workflow = |step: &'_ PlanStep| match &step.target {
            StepTarget::Workflow(_) | StepTarget::Team { .. } => true,
            StepTarget::Agent(_) | StepTarget::Approval | StepTarget::Wait { .. } => false,
        };
        self.steps.iter().filter(|step| starts_workflow(step)).filter_map(PlanStep::workflow).collect()
    }
}

impl PlanStep {
    /// The agent that executes the step.
    #[must_use]
    pub const fn agent(&self) -> Option<&AgentId> {
        match &self.target {
            StepTarget::Agent(agent) => Some(agent),
            StepTarget::Workflow(_) | StepTarget::Team { .. } | StepTarget::Approval | StepTarget::Wait { .. } => None,
        }
    }

    /// The workflow that it starts.
    #[must_use]
    pub const fn workflow(&self) -> Option<&WorkflowId> {
        match &self.target {
            StepTarget::Workflow(workflow) | StepTarget::Team { workflow, .. } => Some(workflow),
            StepTarget::Agent(_) | StepTarget::Approval | StepTarget::Wait { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
