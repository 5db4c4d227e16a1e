//! The active definitions, and the older versions that runs are still pinned to.
//!
//! A reload swaps the catalogue as a whole. A version that is no longer in it is read from the store by
//! its hash, compiled once, and cached.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    agents: PinnedVersions<Agent>,
    workflows: PinnedVersions<Workflow>,
    teams: PinnedVersions<Team>,
    /// Teams that requests contained. The hash is that of the definition in the request, and not that of the team.
    inline_teams: PinnedVersions<Team>,
}

/// The versions of one kind that were read.
struct PinnedVersions<T> {
    /// Rebuilds a definition from its stored body.
    from_body: fn(&str) -> Result<T, Cause>,
    cached: Mutex<HashMap<ContentHash, Arc<T>>>,
}

impl<T> PinnedVersions<T> {
    fn new(from_body: fn(&str) -> Result<T, Cause>) -> Self {
        Self { from_body, cached: Mutex::default() }
    }

    /// The version with this hash; `unknown` if it is not stored.
    async fn get(
        &self,
        store: &dyn DefinitionStore,
        version: &ContentHash,
        unknown: impl FnOnce() -> Cause,
    ) -> Result<Arc<T>, Cause> {
        let cached = self.lock().get(version).cloned();
        if let Some(definition) = cached {
            return Ok(definition);
        }
        let body = store.get(version).await.map_err(|error| error.cause())?.ok_or_else(unknown)?;
        let definition = Arc::new((self.from_body)(&body)?);
        let mut cached = self.lock();
        // A full cache is cleared: a version that is needed again costs one read.
        if cached.len() >= PINNED_VERSIONS_MAX {
            cached.clear();
        }
        cached.insert(*version, Arc::clone(&definition));
        Ok(definition)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContentHash, Arc<T>>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedDefinitions {
    /// Definitions with this catalogue active.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, store: Arc<dyn DefinitionStore>) -> Self {
        Self {
            current: ArcSwap::new(catalogue),
            store,
            agents: PinnedVersions::new(Agent::from_body),
            workflows: PinnedVersions::new(Workflow::from_body),
            teams: PinnedVersions::new(Team::from_body),
            inline_teams: PinnedVersions::new(Team::from_inline_body),
        }
    }

    /// Makes another catalogue active.
    pub fn swap(&self, catalogue: Arc<Catalogue>) {
        self.current.store(catalogue);
    }
}

/// The cause for a version that is not stored.
fn not_stored(code: ErrorCode, id: &impl Display, version: &ContentHash) -> Cause {
    Cause::new(code, format!("the version {} of {id} is not stored", version.short()))
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
            None => {
                let unknown = || not_stored(ErrorCode::UnknownAgent, id, version);
                self.agents.get(&*self.store, version, unknown).await
            }
        }
    }

    async fn workflow(&self, id: &WorkflowId, version: Option<&ContentHash>) -> Result<Arc<Workflow>, Cause> {
        let catalogue = self.catalogue();
        let Some(version) = version else { return catalogue.require_workflow(id).cloned() };
        match catalogue.workflow(id).filter(|workflow| workflow.hash() == *version) {
            Some(workflow) => Ok(Arc::clone(workflow)),
            None => {
                let unknown = || not_stored(ErrorCode::UnknownWorkflow, id, version);
                self.workflows.get(&*self.store, version, unknown).await
            }
        }
    }

    async fn team(&self, id: &TeamId, version: Option<&ContentHash>) -> Result<Arc<Team>, Cause> {
        let catalogue = self.catalogue();
        let Some(version) = version else {
            return match id.content_hash().filter(|_| catalogue.team(id).is_none()) {
                Some(hash) => {
                    let unknown = || Cause::new(ErrorCode::UnknownTeam, format!("the team {id} is not stored"));
                    self.inline_teams.get(&*self.store, &hash, unknown).await
                }
                None => catalogue.require_team(id).cloned(),
            };
        };
        match catalogue.team(id).filter(|team| team.hash() == *version) {
            Some(team) => Ok(Arc::clone(team)),
            None => {
                let unknown = || not_stored(ErrorCode::UnknownTeam, id, version);
                self.teams.get(&*self.store, version, unknown).await
            }
        }
    }
}
