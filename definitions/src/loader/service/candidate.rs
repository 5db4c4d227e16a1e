//! One definition that may be in service: as it was loaded, or as it was last valid.

use std::path::Path;
use std::sync::Arc;

use greenroom_protocol::{AgentId, ContentHash, TeamId, WorkflowId};

use crate::agent::{Agent, RuntimeKind, ToolRef};
use crate::catalogue::{Catalogue, DefinitionKey};
use crate::definition_set::{Reference, ReferenceKind};
use crate::kind::DefinitionKind;
use crate::problem::Problem;
use crate::quarantine::Quarantined;
use crate::team::Team;
use crate::workflow::Workflow;

/// A definition of any kind.
pub(super) enum Definition {
    Agent(Box<Agent>),
    Workflow(Box<Workflow>),
    Team(Box<Team>),
}

/// What a definition cannot be executed without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    Definition(DefinitionKind, String),
    Models,
}

impl Need {
    /// True if the reference is to what is needed.
    pub(super) fn is_named_by(&self, reference: &Reference) -> bool {
        let kind = match reference.kind {
            ReferenceKind::Agent => DefinitionKind::Agent,
            ReferenceKind::Workflow => DefinitionKind::Workflow,
            ReferenceKind::Team => DefinitionKind::Team,
            ReferenceKind::Capability
            | ReferenceKind::Category
            | ReferenceKind::Policy
            | ReferenceKind::Snippet
            | ReferenceKind::Handler
            | ReferenceKind::Tool
            | ReferenceKind::ToolServer
            | ReferenceKind::Provider => return false,
        };
        match self {
            Self::Models => false,
            Self::Definition(needed, id) => *needed == kind && *id == reference.name,
        }
    }
}

impl Definition {
    /// The definition of a catalogue.
    pub(super) fn find(catalogue: &Catalogue, (kind, id): &DefinitionKey) -> Option<Self> {
        match kind {
            DefinitionKind::Agent => {
                let agent = catalogue.agent(&AgentId::new(id).ok()?).filter(|agent| agent.id().as_str() == id)?;
                Some(Self::Agent(Box::new((**agent).clone())))
            }
            DefinitionKind::Workflow => {
                let workflow = catalogue.workflow(&WorkflowId::new(id).ok()?)?;
                Some(Self::Workflow(Box::new((**workflow).clone())))
            }
            DefinitionKind::Team => Some(Self::Team(Box::new((**catalogue.team(&TeamId::new(id).ok()?)?).clone()))),
            DefinitionKind::Categories
            | DefinitionKind::Capabilities
            | DefinitionKind::Models
            | DefinitionKind::Snippet
            | DefinitionKind::Unknown => None,
        }
    }

    fn hash(&self) -> ContentHash {
        match self {
            Self::Agent(agent) => agent.hash(),
            Self::Workflow(workflow) => workflow.hash(),
            Self::Team(team) => team.hash(),
        }
    }

    /// What it cannot be executed without. An agent needs the agents that are its tools; a collaborator, and a workflow
    /// that a team may run, are only permissions.
    pub(super) fn needs(&self) -> Vec<Need> {
        let agent = |id: &AgentId| Need::Definition(DefinitionKind::Agent, id.to_string());
        match self {
            Self::Agent(definition) => {
                let tools = definition.spec().tools.iter().filter_map(|tool| match &tool.tool {
                    ToolRef::Agent(id) => Some(agent(id)),
                    ToolRef::Native(_) | ToolRef::Http(_) | ToolRef::Mcp { .. } => None,
                });
                let models = (definition.spec().implementation.runtime == RuntimeKind::Llm).then_some(Need::Models);
                tools.chain(models).collect()
            }
            Self::Workflow(workflow) => {
                let steps = &workflow.spec().steps;
                let agents = workflow.plan().agents().into_iter().map(agent);
                let workflows = steps.iter().filter_map(|step| step.workflow.as_ref());
                let workflows = workflows.map(|id| Need::Definition(DefinitionKind::Workflow, id.to_string()));
                let teams = steps.iter().filter_map(|step| step.team.as_ref());
                let teams = teams.map(|id| Need::Definition(DefinitionKind::Team, id.to_string()));
                agents.chain(workflows).chain(teams).collect()
            }
            Self::Team(team) => team.spec().agents.iter().map(agent).collect(),
        }
    }
}

/// A definition that may be in service.
pub(super) struct Candidate {
    pub(super) file: Arc<Path>,
    /// As it was loaded; `None` if it could not be.
    pub(super) loaded: Option<Definition>,
    /// As it was last valid, before this load.
    pub(super) last: Option<Definition>,
    /// Why the loaded version is quarantined: the first problem, and the number of the others.
    pub(super) cause: Option<(Problem, usize)>,
}

impl Candidate {
    /// The version that is in service.
    pub(super) const fn in_service(&self) -> Option<&Definition> {
        match self.cause {
            None => self.loaded.as_ref(),
            Some(_) => self.last.as_ref(),
        }
    }

    /// The version in service, and the quarantine of the loaded one.
    pub(super) fn into_service(self, (kind, id): DefinitionKey) -> (Option<Definition>, Option<Quarantined>) {
        let Some((problem, more)) = self.cause else { return (self.loaded, None) };
        let in_service = self.last.as_ref().map(Definition::hash);
        (self.last, Some(Quarantined { kind, id, file: self.file, problem, more, in_service }))
    }
}
