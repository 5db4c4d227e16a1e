//! Whether a run processes personal data: an agent does that its workflow may call, directly, as a tool of
//! another agent, as a member of a team, or in a workflow that it calls.

use std::collections::BTreeSet;

use greenroom_definitions::agent::ToolRef;
use greenroom_definitions::{Catalogue, StepTarget, Workflow};
use greenroom_protocol::{AgentId, TeamId, WorkflowId};

/// True if an agent that the workflow may call, or a member of the run's team, processes personal data, by the newest
/// definitions.
pub(super) fn has_personal_data(workflow: &Workflow, members: &[AgentId], catalogue: &Catalogue) -> bool {
    let mut reached = Reached { catalogue, agents: BTreeSet::new(), workflows: BTreeSet::new() };
    members.iter().any(|member| reached.agent(member)) || reached.workflow(workflow)
}

/// What was examined already.
struct Reached<'c> {
    catalogue: &'c Catalogue,
    agents: BTreeSet<AgentId>,
    workflows: BTreeSet<WorkflowId>,
}

impl Reached<'_> {
    fn workflow(&mut self, workflow: &Workflow) -> bool {
        if !self.workflows.insert(workflow.id().clone()) {
            return false;
        }
        let plan = workflow.plan();
        plan.agents().into_iter().any(|agent| self.agent(agent))
            || plan.steps.iter().any(|step| match &step.target {
                // Among the agents of the plan.
                StepTarget::Agent(_) | StepTarget::Approval | StepTarget::Wait { .. } => false,
                StepTarget::Workflow(called) => self.called_workflow(called),
                StepTarget::Team { team, workflow } => self.team(team) || self.called_workflow(workflow),
            })
    }

    fn called_workflow(&mut self, workflow: &WorkflowId) -> bool {
        let catalogue = self.catalogue;
        catalogue.workflow(workflow).is_some_and(|workflow| self.workflow(workflow))
    }

    fn team(&mut self, team: &TeamId) -> bool {
        let catalogue = self.catalogue;
        catalogue.team(team).is_some_and(|team| team.spec().agents.iter().any(|agent| self.agent(agent)))
    }

    fn agent(&mut self, agent: &AgentId) -> bool {
        let catalogue = self.catalogue;
        let Some(agent) = catalogue.agent(agent) else { return false };
        if !self.agents.insert(agent.id().clone()) {
            return false;
        }
        agent.has_personal_data()
            || agent.spec().tools.iter().any(|tool| match &tool.tool {
                ToolRef::Agent(called) => self.agent(called),
                ToolRef::Native(_) | ToolRef::Http(_) | ToolRef::Mcp { .. } => false,
            })
    }
}
