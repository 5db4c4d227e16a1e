//! The definitions in force, and the older versions that runs are still pinned to.
//!
//! A reload swaps the catalogue as a whole. A version that has left it is read from the registry by
//! its hash, compiled once, and kept while it is used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use greenroom_actors::definition_resolver::DefinitionResolver;
use greenroom_definitions::{Agent, Catalogue, Workflow};
use greenroom_protocol::{AgentId, Cause, ContentHash, ErrorCode, WorkflowId};
use greenroom_registry::definition_store::DefinitionStore;

/// Old versions that are kept compiled.
const PINNED_VERSIONS_MAX: usize = 256;

/// The definitions of this process: the implementation of the actors' seam.
pub struct CachedDefinitions {
    current: ArcSwap<Catalogue>,
    store: Arc<dyn DefinitionStore>,
    pinned: Mutex<Old>,
}

#[derive(Default)]
struct Old {
    agents: HashMap<ContentHash, Arc<Agent>>,
    workflows: HashMap<ContentHash, Arc<Workflow>>,
}

impl CachedDefinitions {
    /// A library with this catalogue in force.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, store: Arc<dyn DefinitionStore>) -> Self {
        Self { current: ArcSwap::new(catalogue), store, pinned: Mutex::default() }
    }

    /// Puts another catalogue in force.
    pub fn swap(&self, catalogue: Arc<Catalogue>) {
        self.current.store(catalogue);
    }

    async fn pinned_agent(&self, id: &AgentId, version: &ContentHash) -> Result<Arc<Agent>, Cause> {
        if let Some(agent) = self.pinned(|old| old.agents.get(version).cloned()) {
            return Ok(agent);
        }
        let body = self.body(version).await?.ok_or_else(|| {
            Cause::new(ErrorCode::UnknownAgent, format!("the version {} of {id} is not kept", version.short()))
        })?;
        let agent = Arc::new(Agent::from_body(&body)?);
        self.pinned(|old| cache(&mut old.agents, *version, Arc::clone(&agent)));
        Ok(agent)
    }

    async fn pinned_workflow(&self, id: &WorkflowId, version: &ContentHash) -> Result<Arc<Workflow>, Cause> {
        if let Some(workflow) = self.pinned(|old| old.workflows.get(version).cloned()) {
            return Ok(workflow);
        }
        let body = self.body(version).await?.ok_or_else(|| {
            Cause::new(ErrorCode::UnknownWorkflow, format!("the version {} of {id} is not kept", version.short()))
        })?;
        let workflow = Arc::new(Workflow::from_body(&body)?);
        self.pinned(|old| cache(&mut old.workflows, *version, Arc::clone(&workflow)));
        Ok(workflow)
    }

    async fn body(&self, version: &ContentHash) -> Result<Option<String>, Cause> {
        self.store.get(version).await.map_err(|error| error.cause())
    }

    fn pinned<T>(&self, act: impl FnOnce(&mut Old) -> T) -> T {
        act(&mut self.pinned.lock().unwrap_or_else(PoisonError::into_inner))
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
}

/// Keeps a version; a full shelf is cleared, since what is needed comes back at one read.
fn cache<T>(shelf: &mut HashMap<ContentHash, T>, version: ContentHash, definition: T) {
    if shelf.len() >= PINNED_VERSIONS_MAX {
        shelf.clear();
    }
    shelf.insert(version, definition);
}
