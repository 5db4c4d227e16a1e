//! The catalogue: all loaded definitions, immutable and indexed. A reload creates a new catalogue;
//! holders of the old one are not affected.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_protocol::{AgentId, CategoryId, Cause, ContentHash, ErrorCode, TeamId, WorkflowId};

use digest::digest;

use crate::agent::Agent;
use crate::capability::Capability;
use crate::category::Category;
use crate::models::Models;
use crate::plan::Plan;
use crate::problem::did_you_mean;
use crate::team::Team;
use crate::workflow::Workflow;

mod digest;

/// The parts of a catalogue.
#[derive(Debug, Clone, Default)]
pub struct CatalogueParts {
    /// Every category.
    pub categories: Vec<Category>,
    /// Every capability.
    pub capabilities: Vec<Capability>,
    /// Every agent.
    pub agents: Vec<Agent>,
    /// Every workflow.
    pub workflows: Vec<Workflow>,
    /// Every team.
    pub teams: Vec<Team>,
    /// The models.
    pub models: Models,
}

/// Every definition, by id.
#[derive(Debug, Clone)]
pub struct Catalogue {
    categories: BTreeMap<CategoryId, Arc<Category>>,
    capabilities: BTreeMap<String, Capability>,
    agents: BTreeMap<AgentId, Arc<Agent>>,
    /// Ids without ordinal → ids with ordinal.
    short: BTreeMap<AgentId, AgentId>,
    workflows: BTreeMap<WorkflowId, Arc<Workflow>>,
    teams: BTreeMap<TeamId, Arc<Team>>,
    models: Arc<Models>,
    hash: ContentHash,
}

/// Returns the id without a trailing `_NNN`; `None` if it has none.
#[must_use]
pub fn without_ordinal(id: &str) -> Option<&str> {
    let (short, ordinal) = id.rsplit_once('_')?;
    (!short.is_empty() && ordinal.len() == 3 && ordinal.bytes().all(|byte| byte.is_ascii_digit())).then_some(short)
}

impl Catalogue {
    /// Indexes checked definitions. Of two definitions with one id the later one wins; the loader has
    /// reported such a duplicate before.
    #[must_use]
    pub fn new(parts: CatalogueParts) -> Self {
        let agents: BTreeMap<AgentId, Arc<Agent>> =
            parts.agents.into_iter().map(|agent| (agent.id().clone(), Arc::new(agent))).collect();
        let mut short: BTreeMap<AgentId, AgentId> = BTreeMap::new();
        for id in agents.keys() {
            if let Some(Ok(name)) = without_ordinal(id.as_str()).map(AgentId::new) {
                // A name resolves to an agent with exactly that id, else to the lowest ordinal.
                short.entry(name).or_insert_with(|| id.clone());
            }
        }
        let workflows: BTreeMap<_, _> =
            parts.workflows.into_iter().map(|workflow| (workflow.id().clone(), Arc::new(workflow))).collect();
        let teams: BTreeMap<_, _> = parts.teams.into_iter().map(|team| (team.id().clone(), Arc::new(team))).collect();
        let categories: BTreeMap<_, _> =
            parts.categories.into_iter().map(|category| (category.id.clone(), Arc::new(category))).collect();
        let capabilities: BTreeMap<_, _> =
            parts.capabilities.into_iter().map(|capability| (capability.id.clone(), capability)).collect();
        let models = Arc::new(parts.models);
        let hashes = agents.values().map(|agent| agent.hash());
        let hashes = hashes.chain(workflows.values().map(|workflow| workflow.hash()));
        let hashes = hashes.chain(teams.values().map(|team| team.hash()));
        let hash = digest(hashes, &categories, &capabilities, &models);
        Self { categories, capabilities, agents, short, workflows, teams, models, hash }
    }

    /// The agent of that id, with or without its `_NNN` ordinal.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<&Arc<Agent>> {
        self.agents.get(id).or_else(|| self.agents.get(self.short.get(id)?))
    }

    /// The workflow of that id.
    #[must_use]
    pub fn workflow(&self, id: &WorkflowId) -> Option<&Arc<Workflow>> {
        self.workflows.get(id)
    }

    /// The team of that id.
    #[must_use]
    pub fn team(&self, id: &TeamId) -> Option<&Arc<Team>> {
        self.teams.get(id)
    }

    /// The category of that id.
    #[must_use]
    pub fn category(&self, id: &CategoryId) -> Option<&Arc<Category>> {
        self.categories.get(id)
    }

    /// Every agent, by id.
    pub fn agents(&self) -> impl ExactSizeIterator<Item = &Arc<Agent>> {
        self.agents.values()
    }

    /// Every workflow, by id.
    pub fn workflows(&self) -> impl ExactSizeIterator<Item = &Arc<Workflow>> {
        self.workflows.values()
    }

    /// Every team, by id.
    pub fn teams(&self) -> impl ExactSizeIterator<Item = &Arc<Team>> {
        self.teams.values()
    }

    /// Every category, by id.
    pub fn categories(&self) -> impl ExactSizeIterator<Item = &Arc<Category>> {
        self.categories.values()
    }

    /// The capability of that id.
    #[must_use]
    pub fn capability(&self, id: &str) -> Option<&Capability> {
        self.capabilities.get(id)
    }

    /// Every capability, by id.
    pub fn capabilities(&self) -> impl ExactSizeIterator<Item = &Capability> {
        self.capabilities.values()
    }

    /// The models.
    #[must_use]
    pub const fn models(&self) -> &Arc<Models> {
        &self.models
    }

    /// The hash of the whole catalogue: catalogues with equal hashes are equal.
    #[must_use]
    pub const fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Returns the versions of the agents that a plan names, under the ids that the plan uses. A run is
    /// pinned to them.
    ///
    /// # Errors
    /// `unknown_agent` if the catalogue lacks one.
    pub fn pinned_versions(&self, plan: &Plan) -> Result<BTreeMap<AgentId, ContentHash>, Cause> {
        let pin = |id: &AgentId| self.require_agent(id).map(|agent| (id.clone(), agent.hash()));
        plan.agents().into_iter().map(pin).collect()
    }

    /// True if the two agents may call each other: one of them lists the other as a collaborator.
    #[must_use]
    pub fn may_work_with(&self, one: &AgentId, other: &AgentId) -> bool {
        let (Some(one), Some(other)) = (self.agent(one), self.agent(other)) else { return false };
        let lists = |caller: &Agent, callee: &Agent| {
            let named = &caller.spec().collaboration.can_work_with;
            named.iter().any(|id| self.agent(id).is_some_and(|known| known.id() == callee.id()))
        };
        lists(one, other) || lists(other, one)
    }

    /// True if the agent is one of the team's members.
    #[must_use]
    pub fn is_member(&self, team: &Team, agent: &AgentId) -> bool {
        let Some(agent) = self.agent(agent) else { return false };
        team.spec().agents.iter().any(|id| self.agent(id).is_some_and(|known| known.id() == agent.id()))
    }

    /// As [`Catalogue::agent`], with an error that suggests a similar name.
    ///
    /// # Errors
    /// `unknown_agent`.
    pub fn require_agent(&self, id: &AgentId) -> Result<&Arc<Agent>, Cause> {
        let known = self.agents.keys().chain(self.short.keys()).map(AgentId::as_str);
        self.agent(id).ok_or_else(|| unknown(ErrorCode::UnknownAgent, "agent", id.as_str(), known))
    }

    /// As [`Catalogue::workflow`], with an error that suggests a similar name.
    ///
    /// # Errors
    /// `unknown_workflow`.
    pub fn require_workflow(&self, id: &WorkflowId) -> Result<&Arc<Workflow>, Cause> {
        let known = self.workflows.keys().map(WorkflowId::as_str);
        self.workflow(id).ok_or_else(|| unknown(ErrorCode::UnknownWorkflow, "workflow", id.as_str(), known))
    }

    /// As [`Catalogue::team`], with an error that suggests a similar name.
    ///
    /// # Errors
    /// `unknown_team`.
    pub fn require_team(&self, id: &TeamId) -> Result<&Arc<Team>, Cause> {
        let known = self.teams.keys().map(TeamId::as_str);
        self.team(id).ok_or_else(|| unknown(ErrorCode::UnknownTeam, "team", id.as_str(), known))
    }
}

fn unknown<'a>(code: ErrorCode, kind: &str, id: &str, known: impl Iterator<Item = &'a str>) -> Cause {
    let hint = did_you_mean(id, known).unwrap_or_default();
    Cause::new(code, format!("there is no {kind} `{id}`{hint}"))
}

#[cfg(test)]
mod tests;
