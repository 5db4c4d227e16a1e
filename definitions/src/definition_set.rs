//! Every definition of one load that could be read, each with its location, before the checks
//! compare them with each other. The loader fills a set and the checks read it.

use crate::agent::Agent;
use crate::capability::Capabilities;
use crate::category::Categories;
use crate::models::Models;
use crate::team::Team;
use crate::workflow::{Workflow, WorkflowSpec};

mod located;

pub(crate) use located::{DeclaredIds, Located};

/// A workflow as written, and compiled if it is valid.
pub(crate) struct LoadedWorkflow {
    pub(crate) spec: WorkflowSpec,
    pub(crate) compiled: Option<Workflow>,
}

/// All definitions of one load that could be decoded.
#[derive(Default)]
pub(crate) struct DefinitionSet {
    pub(crate) agents: Vec<Located<Agent>>,
    pub(crate) workflows: Vec<Located<LoadedWorkflow>>,
    pub(crate) teams: Vec<Located<Team>>,
    pub(crate) categories: Vec<Located<Categories>>,
    pub(crate) capabilities: Vec<Located<Capabilities>>,
    pub(crate) models: Vec<Located<Models>>,
    /// Ids of invalid definitions, so that a reference to one is not a second problem.
    pub(crate) declared: DeclaredIds,
}

impl DefinitionSet {
    pub(crate) fn append(&mut self, mut other: Self) {
        self.agents.append(&mut other.agents);
        self.workflows.append(&mut other.workflows);
        self.teams.append(&mut other.teams);
        self.categories.append(&mut other.categories);
        self.capabilities.append(&mut other.capabilities);
        self.models.append(&mut other.models);
        self.declared.append(other.declared);
    }

    /// Removes the definitions that the other set also has.
    pub(crate) fn without(mut self, other: &Self) -> Self {
        self.agents.retain(|definition| !other.agents.iter().any(|one| one.value.id() == definition.value.id()));
        let same = |one: &Located<LoadedWorkflow>, id| one.value.spec.workflow_id == id;
        self.workflows.retain(|definition| {
            !other.workflows.iter().any(|one| same(one, definition.value.spec.workflow_id.clone()))
        });
        self.teams.retain(|definition| !other.teams.iter().any(|one| one.value.id() == definition.value.id()));
        if !other.categories.is_empty() || other.declared.categories {
            self.categories.clear();
        }
        if !other.capabilities.is_empty() || other.declared.capabilities {
            self.capabilities.clear();
        }
        if !other.models.is_empty() || other.declared.models {
            self.models.clear();
        }
        self
    }
}
