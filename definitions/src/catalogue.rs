//! The catalogue: all loaded definitions, immutable and indexed. A reload creates a new catalogue;
//! holders of the old one are not affected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use greenroom_protocol::{AgentId, CategoryId, Cause, ContentHash, ErrorCode, TeamId, WorkflowId};

use digest::digest;

use crate::agent::Agent;
use crate::capability::Capability;
use crate::category::Category;
use crate::kind::DefinitionKind;
use crate::models::Models;
use crate::plan::Plan;
use crate::problem::did_you_mean;
use crate::quarantine::Quarantined;
use crate::team::Team;
use crate::workflow::Workflow;

mod digest;
mod stored;

pub use stored::{StoredDefinition, UnreadableDefinition};

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
    /// Every definition that is not in service in the version of its file.
    pub quarantined: Vec<Quarantined>,
    /// The definitions that each file contains.
    pub files: BTreeMap<Arc<Path>, DefinitionKey>,
}

/// The kind and the id of a definition.
pub type DefinitionKey = (DefinitionKind, String);

/// Every definition, by id.
#[derive(Debug, Clone)]
pub struct Catalogue {
    categories: BTreeMap<CategoryId, Arc<Category>>,
    capabilities: BTreeMap<String, Capability>,
    agents: BTreeMap<AgentId, Arc<Agent>>,
    /// Ids without ordinal → ids with ordinal, those of quarantined agents among them.
    short: BTreeMap<AgentId, AgentId>,
    workflows: BTreeMap<WorkflowId, Arc<Workflow>>,
    teams: BTreeMap<TeamId, Arc<Team>>,
    models: Arc<Models>,
    quarantined: BTreeMap<DefinitionKey, Quarantined>,
    files: BTreeMap<Arc<Path>, DefinitionKey>,
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
        let quarantined: BTreeMap<DefinitionKey, Quarantined> =
            parts.quarantined.into_iter().map(|one| ((one.kind, one.id.clone()), one)).collect();
        let short = short_ids(agents.keys(), &quarantined);
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
        let hash = digest(hashes, &categories, &capabilities, &models, quarantined.values());
        Self {
            categories,
            capabilities,
            agents,
            short,
            workflows,
            teams,
            models,
            quarantined,
            files: parts.files,
            hash,
        }
    }

    /// The agent of that id, with or without its `_NNN` ordinal. An id without one never resolves to another agent
    /// because the agent with the lowest ordinal is quarantined.
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

    /// Every definition that is not in service in the version of its file.
    pub fn quarantined(&self) -> impl ExactSizeIterator<Item = &Quarantined> {
        self.quarantined.values()
    }

    /// The definition that each file contained when this catalogue was loaded.
    pub(crate) const fn files(&self) -> &BTreeMap<Arc<Path>, DefinitionKey> {
        &self.files
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

    /// As [`Catalogue::agent`], with an error that names the problem or suggests a similar name.
    ///
    /// # Errors
    /// `invalid_definition` if the agent is quarantined; `unknown_agent`.
    pub fn require_agent(&self, id: &AgentId) -> Result<&Arc<Agent>, Cause> {
        let known = self.agents.keys().chain(self.short.keys()).map(AgentId::as_str);
        let is_exact = self.quarantined.contains_key(&(DefinitionKind::Agent, id.to_string()));
        let full = self.short.get(id).filter(|_| !is_exact).unwrap_or(id);
        self.agent(id).ok_or_else(|| {
            self.unavailable(DefinitionKind::Agent, full.as_str())
                .unwrap_or_else(|| unknown(ErrorCode::UnknownAgent, "agent", id.as_str(), known))
        })
    }

    /// As [`Catalogue::workflow`], with an error that names the problem or suggests a similar name.
    ///
    /// # Errors
    /// `invalid_definition` if the workflow is quarantined; `unknown_workflow`.
    pub fn require_workflow(&self, id: &WorkflowId) -> Result<&Arc<Workflow>, Cause> {
        let known = self.workflows.keys().map(WorkflowId::as_str);
        self.workflow(id).ok_or_else(|| {
            self.unavailable(DefinitionKind::Workflow, id.as_str())
                .unwrap_or_else(|| unknown(ErrorCode::UnknownWorkflow, "workflow", id.as_str(), known))
        })
    }

    /// As [`Catalogue::team`], with an error that names the problem or suggests a similar name.
    ///
    /// # Errors
    /// `invalid_definition` if the team is quarantined; `unknown_team`.
    pub fn require_team(&self, id: &TeamId) -> Result<&Arc<Team>, Cause> {
        let known = self.teams.keys().map(TeamId::as_str);
        self.team(id).ok_or_else(|| {
            self.unavailable(DefinitionKind::Team, id.as_str())
                .unwrap_or_else(|| unknown(ErrorCode::UnknownTeam, "team", id.as_str(), known))
        })
    }

    /// The error of a definition that exists and is quarantined.
    fn unavailable(&self, kind: DefinitionKind, id: &str) -> Option<Cause> {
        self.quarantined.get(&(kind, id.to_owned())).map(Quarantined::to_cause)
    }
}

/// Maps each id without its ordinal to the lowest ordinal. An agent with exactly that id has precedence.
fn short_ids<'a>(
    agents: impl Iterator<Item = &'a AgentId>,
    quarantined: &BTreeMap<DefinitionKey, Quarantined>,
) -> BTreeMap<AgentId, AgentId> {
    let absent = quarantined.keys().filter(|(kind, _)| *kind == DefinitionKind::Agent);
    let ids: BTreeSet<AgentId> = agents.cloned().chain(absent.filter_map(|(_, id)| AgentId::new(id).ok())).collect();
    let mut short: BTreeMap<AgentId, AgentId> = BTreeMap::new();
    for id in ids {
        if let Some(Ok(name)) = without_ordinal(id.as_str()).map(AgentId::new) {
            short.entry(name).or_insert(id);
        }
    }
    short
}

fn unknown<'a>(code: ErrorCode, kind: &str, id: &str, known: impl Iterator<Item = &'a str>) -> Cause {
    let hint = did_you_mean(id, known).unwrap_or_default();
    Cause::new(code, format!("there is no {kind} `{id}`{hint}"))
}

#[cfg(test)]
mod tests;
