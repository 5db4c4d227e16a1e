//! A workflow, compiled: its steps in an order in which they can run, with every dependency that is
//! declared or implied by a reference, every expression parsed and every condition compiled.
//!
//! A plan belongs to one version of a workflow and needs nothing else to be interpreted. It names
//! agents as the workflow does; [`crate::Catalogue::pinned_versions`] says which versions these are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use greenroom_protocol::{AgentId, ContentHash, MicroUsd, StepId, TeamId, WorkflowId};

use crate::condition::Condition;
use crate::expr::Expr;
use crate::spec::agent::Retry;
use crate::spec::workflow::OnError;
use crate::types::Field;

mod compile;
mod order;
mod problem;

pub(crate) use order::order;

pub use problem::{PlanPart, PlanProblem};

/// Steps of one workflow.
pub const STEPS_MAX: usize = 200;

/// Who does a step.
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
        /// What it runs.
        workflow: WorkflowId,
    },
    /// Nobody: the step only waits for a person.
    Approval,
}

/// A compiled step.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanStep {
    /// Its id.
    pub id: StepId,
    /// Who does it.
    pub target: StepTarget,
    /// The steps that must be done before, declared or implied, in the order of the plan.
    pub depends_on: Vec<StepId>,
    /// Its inputs.
    pub inputs: BTreeMap<String, Expr>,
    /// The names under which its outputs appear in the run's outputs.
    pub outputs: Vec<String>,
    /// It is skipped where this does not hold.
    pub when: Option<Condition>,
    /// It is done once for each item.
    pub for_each: Option<ForEach>,
    /// How often it is tried again; without it, as its agent says.
    pub retry: Option<Retry>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// What a person is asked before it begins.
    pub approval: Option<Expr>,
    /// How it is undone.
    pub compensate: Option<Compensate>,
}

/// A compiled `for_each`.
#[derive(Debug, Clone, PartialEq)]
pub struct ForEach {
    /// The list.
    pub items: Expr,
    /// Items at one time; at least 1.
    pub max_concurrency: u32,
    /// What happens when an item fails.
    pub on_error: OnError,
}

/// How a step is undone.
#[derive(Debug, Clone, PartialEq)]
pub struct Compensate {
    /// The agent that undoes it.
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
    /// What a run takes; none declared means anything.
    pub inputs: Vec<Field>,
    /// The steps: each one behind all that it depends on.
    pub steps: Vec<PlanStep>,
    /// What a run gives back, by name; empty means every named output of every step.
    pub outputs: BTreeMap<String, Expr>,
    /// What it gives back as `final_output`.
    pub final_output: Option<Expr>,
    /// US dollars that one run may cost.
    pub cost_max: Option<MicroUsd>,
    /// Tokens that one run may use.
    pub tokens_max: Option<u64>,
    /// How long one run may take.
    pub timeout: Option<Duration>,
}

impl Plan {
    /// The step of that id.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&PlanStep> {
        self.steps.iter().find(|step| step.id == *id)
    }

    /// The agents that it names, those that undo steps included.
    #[must_use]
    pub fn agents(&self) -> BTreeSet<&AgentId> {
        let targets = self.steps.iter().filter_map(|step| match &step.target {
            StepTarget::Agent(agent) => Some(agent),
            StepTarget::Workflow(_) | StepTarget::Team { .. } | StepTarget::Approval => None,
        });
        targets.chain(self.steps.iter().filter_map(|step| Some(&step.compensate.as_ref()?.agent))).collect()
    }

    /// The workflows that it starts, alone or as a team's.
    #[must_use]
    pub fn workflows(&self) -> BTreeSet<&WorkflowId> {
        let starts_workflow = |step: &'_ PlanStep| match &step.target {
            StepTarget::Workflow(_) | StepTarget::Team { .. } => true,
            StepTarget::Agent(_) | StepTarget::Approval => false,
        };
        self.steps.iter().filter(|step| starts_workflow(step)).filter_map(PlanStep::workflow).collect()
    }
}

impl PlanStep {
    /// The agent that does it.
    #[must_use]
    pub const fn agent(&self) -> Option<&AgentId> {
        match &self.target {
            StepTarget::Agent(agent) => Some(agent),
            StepTarget::Workflow(_) | StepTarget::Team { .. } | StepTarget::Approval => None,
        }
    }

    /// The workflow that it starts.
    #[must_use]
    pub const fn workflow(&self) -> Option<&WorkflowId> {
        match &self.target {
            StepTarget::Workflow(workflow) | StepTarget::Team { workflow, .. } => Some(workflow),
            StepTarget::Agent(_) | StepTarget::Approval => None,
        }
    }
}

#[cfg(test)]
mod tests;
