//! The catalogue: all loaded definitions, immutable and indexed. A reload creates a new catalogue;
//! holders of the old one are not affected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use greenroom_protocol::{AgentId, CategoryId, Cause, ContentHash, ErrorCode, TeamId, WorkflowId};

use digest::digest;
pub(crate) use entry::{Definition, Entry};

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
mod entry;
mod stored;
mod summary;

pub use stored::{StoredDefinition, UnreadableDefinition};
pub use summary::{AgentSummary, WorkflowSummary};

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

/// Definitions by id, each of them decoded or to be decoded.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) agents: BTreeMap<AgentId, Entry<Agent>>,
    pub(crate) workflows: BTreeMap<WorkflowId, Entry<Workflow>>,
    pub(crate) teams: BTreeMap<TeamId, Entry<Team>>,
}

/// The kind and the id of a definition.
pub type DefinitionKey = (DefinitionKind, String);

/// Every definition, by id.
#[derive(Debug, Clone)]
pub struct Catalogue {
    categories: BTreeMap<CategoryId, Arc<Category>>,
    capabilities: BTreeMap<String, Capability>,
    agents: BTreeMap<AgentId, Entry<Agent>>,
    /// Ids without ordinal → ids with ordinal, those of quarantined agents among them.
    short: BTreeMap<AgentId, AgentId>,
    workflows: BTreeMap<WorkflowId, Entry<Workflow>>,
    teams: BTreeMap<TeamId, Entry<Team>>,
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
        let CatalogueParts { categories, capabilities, agents, workflows, teams, models, quarantined, files } = parts;
        let entries = Entries {
            agents: agents.into_iter().map(|agent| (agent.id().clone(), Entry::decoded(agent))).collect(),
            workflows: workflows.into_iter().map(|one| (one.id().clone(), Entry::decoded(one))).collect(),
            teams: teams.into_iter().map(|team| (team.id().clone(), Entry::decoded(team))).collect(),
        };
        let others =
            CatalogueParts { categories, capabilities, models, quarantined, files, ..CatalogueParts::default() };
        Self::from_entries(entries, others)
    }

    /// Indexes definitions that need not be decoded, with the other parts.
    pub(crate) fn from_entries(entries: Entries, others: CatalogueParts) -> Self {
        let Entries { agents, workflows, teams } = entries;
        let quarantined: BTreeMap<DefinitionKey, Quarantined> =
            others.quarantined.into_iter().map(|one| ((one.kind, one.id.clone()), one)).collect();
        let short = short_ids(agents.keys(), &quarantined);
        let categories: BTreeMap<_, _> =
            others.categories.into_iter().map(|category| (category.id.clone(), Arc::new(category))).collect();
        let capabilities: BTreeMap<_, _> =
            others.capabilities.into_iter().map(|capability| (capability.id.clone(), capability)).collect();
        let models = Arc::new(others.models);
        let hashes = agents.values().map(Entry::hash);
        let hashes = hashes.chain(workflows.values().map(Entry::hash));
        let hashes = hashes.chain(teams.values().map(Entry::hash));
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
            files: others.files,
            hash,
        }
    }

    /// The agent of that id, with or without its `_NNN` ordinal. An id without one never resolves to another agent
    /// because the agent with the lowest ordinal is quarantined.
    #[must_use]
    pub fn agent(&self, id: &AgentId) -> Option<&Arc<Agent>> {
        self.agent_entry(id)?.1.get().ok()
    }

    /// The full id of an agent, by its id with or without its `_NNN` ordinal.
    #[must_use]
    pub fn full_agent_id(&self, id: &AgentId) -> Option<&AgentId> {
        self.agent_entry(id).map(|(id, _)| id)
    }

    fn agent_entry(&self, id: &AgentId) -> Option<(&AgentId, &Entry<Agent>)> {
        self.agents.get_key_value(id).or_else(|| self.agents.get_key_value(self.short.get(id)?))
    }

    /// The workflow of that id.
    #[must_use]
    pub fn workflow(&self, id: &WorkflowId) -> Option<&Arc<Workflow>> {
        self.workflows.get(id)?.get().ok()
    }

    /// The team of that id.
    #[must_use]
    pub fn team(&self, id: &TeamId) -> Option<&Arc<Team>> {
        self.teams.get(id)?.get().ok()
    }

    /// The category of that id.
    #[must_use]
    pub fn category(&self, id: &CategoryId) -> Option<&Arc<Category>> {
        self.categories.get(id)
    }

    /// Every agent, by id. All of them are decoded, and remain so; [`Catalogue::agent_summaries`] decodes none. One whose
    /// compiled text is damaged is left out, as in [`Catalogue::agent`]; [`Catalogue::damages`] has the errors.
    pub fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values().filter_map(|entry| entry.get().ok())
    }

    /// Every workflow, by id; as [`Catalogue::agents`].
    pub fn workflows(&self) -> impl Iterator<Item = &Arc<Workflow>> {
        self.workflows.values().filter_map(|entry| entry.get().ok())
    }

    /// Every team, by id; as [`Catalogue::agents`].
    pub fn teams(&self) -> impl Iterator<Item = &Arc<Team>> {
        self.teams.values().filter_map(|entry| entry.get().ok())
    }

    /// The number of agents.
    #[must_use]
    pub fn agent_count(&self) -> usize {
        self.agents.len()
    }

    /// The number of workflows.
    #[must_use]
    pub fn workflow_count(&self) -> usize {
        self.workflows.len()
    }

    /// The number of teams.
    #[must_use]
    pub fn team_count(&self) -> usize {
        self.teams.len()
    }

    /// The errors of all definitions whose compiled text is damaged. It decodes every definition.
    #[must_use]
    pub fn damages(&self) -> Vec<Cause> {
        let agents = self.agents.values().filter_map(|entry| entry.get().err());
        let workflows = self.workflows.values().filter_map(|entry| entry.get().err());
        agents.chain(workflows).chain(self.teams.values().filter_map(|entry| entry.get().err())).collect()
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
        let pin = |id: &AgentId| self.require_agent_entry(id).map(|entry| (id.clone(), entry.hash()));
        plan.agents().into_iter().map(pin).collect()
    }

    /// True if the two agents may call each other: one of them lists the other as a collaborator.
    #[must_use]
    pub fn may_work_with(&self, one: &AgentId, other: &AgentId) -> bool {
        let (Some(one), Some(other)) = (self.agent(one), self.agent(other)) else { return false };
        let lists = |caller: &Agent, callee: &Agent| {
            let named = &caller.spec().collaboration.can_work_with;
            named.iter().any(|id| self.full_agent_id(id) == Some(callee.id()))
        };
        lists(one, other) || lists(other, one)
    }

    /// True if the agent is one of the team's members.
    #[must_use]
    pub fn is_member(&self, team: &Team, agent: &AgentId) -> bool {
        let Some(agent) = self.full_agent_id(agent) else { return false };
        team.spec().agents.iter().any(|id| self.full_agent_id(id) == Some(agent))
    }

    /// As [`Catalogue::agent`], with an error that names the problem or suggests a similar name.
    ///
    /// # Errors
    /// `invalid_definition` if the agent is quarantined, or its compiled text damaged; `unknown_agent`.
    pub fn require_agent(&self, id: &AgentId) -> Result<&Arc<Agent>, Cause> {
        self.require_agent_entry(id)?.get()
    }

    fn require_agent_entry(&self, id: &AgentId) -> Result<&Entry<Agent>, Cause> {
        let known = self.agents.keys().chain(self.short.keys()).map(AgentId::as_str);
        let is_exact = self.quarantined.contains_key(&(DefinitionKind::Agent, id.to_string()));
        let full = self.short.get(id).filter(|_| !is_exact).unwrap_or(id);
        self.agent_entry(id).map(|(_, entry)| entry).ok_or_else(|| {
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
        let entry = self.workflows.get(id).ok_or_else(|| {
            self.unavailable(DefinitionKind::Workflow, id.as_str())
                .unwrap_or_else(|| unknown(ErrorCode::UnknownWorkflow, "workflow", id.as_str(), known))
        })?;
        entry.get()
    }

    /// As [`Catalogue::team`], with an error that names the problem or suggests a similar name.
    ///
    /// # Errors
    /// `invalid_definition` if the team is quarantined; `unknown_team`.
    pub fn require_team(&self, id: &TeamId) -> Result<&Arc<Team>, Cause> {
        let known = self.teams.keys().map(TeamId::as_str);
        let entry = self.teams.get(id).ok_or_else(|| {
            self.unavailable(DefinitionKind::Team, id.as_str())
                .unwrap_or_else(|| unknown(ErrorCode::UnknownTeam, "team", id.as_str(), known))
        })?;
        entry.get()
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
