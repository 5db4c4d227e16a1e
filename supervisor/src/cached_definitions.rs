//! The active definitions, and the older versions that runs are still pinned to.
//!
//! A reload swaps the catalogue as a whole. A version that is no longer in it is read from the store by
//! its hash, compiled once, and cached.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use greenroom_actors::definition_resolver::DefinitionResolver;
use greenroom_definitions::{Agent, Catalogue, Team, Workflow};
use greenroom_protocol::{AgentId, Cause, ContentHash, ErrorCode, TeamId, WorkflowId};
use greenroom_registry::definition_store::DefinitionStore;

/// Pinned versions of one kind that are cached.
const PINNED_VERSIONS_MAX: usize = 256;

/// The definition resolver of this pod.
pub struct CachedDefinitions {
    current: ArcSwap<Catalogue>,
    store: Arc<dyn DefinitionStore>,
    pinned: Mutex<PinnedVersions>,
}

#[derive(Default)]
struct PinnedVersions {
    agents: HashMap<ContentHash, Arc<Agent>>,
    workflows: HashMap<ContentHash, Arc<Workflow>>,
    teams: HashMap<ContentHash, Arc<Team>>,
    inline_teams: HashMap<ContentHash, Arc<Team>>,
}

impl CachedDefinitions {
    /// Definitions with this catalogue active.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, store: Arc<dyn DefinitionStore>) -> Self {
        Self { current: ArcSwap::new(catalogue), store, pinned: Mutex::default() }
    }

    /// Makes another catalogue active.
    pub fn swap(&self, catalogue: Arc<Catalogue>) {
        self.current.store(catalogue);
    }

    async fn pinned_agent(&self, id: &AgentId, version: &ContentHash) -> Result<Arc<Agent>, Cause> {
        if let Some(agent) = self.with_pinned(|pinned| pinned.agents.get(version).cloned()) {
            return Ok(agent);
        }
        let body = self.body(version).await?.ok_or_else(|| {
            Cause::new(ErrorCode::UnknownAgent, format!("the version {} of {id} is not stored", version.short()))
        })?;
        let agent = Arc::new(Agent::from_body(&body)?);
        self.with_pinned(|pinned| cache(&mut pinned.agents, *version, Arc::clone(&agent)));
        Ok(agent)
    }

    async fn pinned_workflow(&self, id: &WorkflowId, version: &ContentHash) -> Result<Arc<Workflow>, Cause> {
        if let Some(workflow) = self.with_pinned(|pinned| pinned.workflows.get(version).cloned()) {
            return Ok(workflow);
        }
        let body = self.body(version).await?.ok_or_else(|| {
            Cause::new(ErrorCode::UnknownWorkflow, format!("the version {} of {id} is not stored", version.short()))
        })?;
        let workflow = Arc::new(Workflow::from_body(&body)?);
        self.with_pinned(|pinned| cache(&mut pinned.workflows, *version, Arc::clone(&workflow)));
        Ok(workflow)
    }

    async fn pinned_team(&self, id: &TeamId, version: &ContentHash) -> Result<Arc<Team>, Cause> {
        if let Some(team) = self.with_pinned(|pinned| pinned.teams.get(version).cloned()) {
            return Ok(team);
        }
        let body = self.body(version).await?.ok_or_else(|| {
            Cause::new(ErrorCode::UnknownTeam, format!("the version {} of {id} is not stored", version.short()))
        })?;
        let team = Arc::new(Team::from_body(&body)?);
        self.with_pinned(|pinned| cache(&mut pinned.teams, *version, Arc::clone(&team)));
        Ok(team)
    }

    /// A team that a request contained. The hash is that of the definition in the request, and not that of the team.
    async fn inline_team(&self, id: &TeamId, hash: &ContentHash) -> Result<Arc<Team>, Cause> {
        if let Some(team) = self.with_pinned(|pinned| pinned.inline_teams.get(hash).cloned()) {
            return Ok(team);
        }
        let unknown = || Cause::new(ErrorCode::UnknownTeam, format!("the team {id} is not stored"));
        let body = self.body(hash).await?.ok_or_else(unknown)?;
        let team = Arc::new(Team::from_inline_body(&body)?);
        self.with_pinned(|pinned| cache(&mut pinned.inline_teams, *hash, Arc::clone(&team)));
        Ok(team)
    }

    async fn body(&self, version: &ContentHash) -> Result<Option<String>, Cause> {
        self.store.get(version).await.map_err(|error| error.cause())
    }

    fn with_pinned<T>(&self, access: impl FnOnce(&mut PinnedVersions) -> T) -> T {
        access(&mut self.pinned.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl DefinitionResolver for CachedDefinitions {
    fn catalogue(&self) -> Arc<Catalogue> {
        self.current.load_full()
    }

    async fn agent(&self, id: &AgentId, version: Option<&ContentHash>) -> Result<Arc<Agent>, Cause> {
        let catalogue = self.catalogue();
        let Some(version) = version else { return catalogue.require_agent(id).cloned() };
        match catalogue.agent(id).filter(|agent| agent.hash() == *version) {
            Some(agent) => Ok(Arc::clone(agent)),
            None => self.pinned_agent(id, version).await,
        }
    }

    async fn workflow(&self, id: &WorkflowId, version: Option<&ContentHash>) -> Result<Arc<Workflow>, Cause> {
        let catalogue = self.catalogue();
        let Some(version) = version else { return catalogue.require_workflow(id).cloned() };
        match catalogue.workflow(id).filter(|workflow| workflow.hash() == *version) {
            Some(workflow) => Ok(Arc::clone(workflow)),
            None => self.pinned_workflow(id, version).await,
        }
    }

    async fn team(&self, id: &TeamId, version: Option<&ContentHash>) -> Result<Arc<Team>, Cause> {
        let catalogue = self.catalogue();
        let Some(version) = version else {
            return match id.content_hash().filter(|_| catalogue.team(id).is_none()) {
                Some(hash) => self.inline_team(id, &hash).await,
                None => catalogue.require_team(id).cloned(),
            };
        };
        match catalogue.team(id).filter(|team| team.hash() == *version) {
            Some(team) => Ok(Arc::clone(team)),
            None => self.pinned_team(id, version).await,
        }
    }
}

/// Caches a version. A full cache is cleared: a version that is needed again costs one read.
fn cache<T>(versions: &mut HashMap<ContentHash, T>, version: ContentHash, definition: T) {
    if versions.len() >= PINNED_VERSIONS_MAX {
        versions.clear();
    }
    versions.insert(version, definition);
}
