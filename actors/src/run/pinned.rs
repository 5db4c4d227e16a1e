//! What a run is pinned to: the versions of its workflow and of its agents, whatever the files say
//! later. A run that begins makes sure that these versions can be found for as long as it lives.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use greenroom_definitions::plan::{Plan, PlanStep};
use greenroom_definitions::{Agent, Workflow};
use greenroom_protocol::journal::RunStarted;
use greenroom_protocol::{AgentId, Cause, ContentHash, ErrorCode, StepId};
use greenroom_registry::definition_store::DefinitionStore;

use crate::definition_resolver::DefinitionResolver;

/// A run's definitions, in the versions that it is pinned to.
pub(super) struct Pinned {
    pub(super) plan: Arc<Plan>,
    agents: BTreeMap<AgentId, Arc<Agent>>,
}

impl Pinned {
    /// The newest agents for this version of a workflow.
    ///
    /// # Errors
    /// `unknown_agent` if the catalogue lacks one.
    pub(super) fn newest(workflow: &Workflow, resolver: &dyn DefinitionResolver) -> Result<Self, Cause> {
        let catalogue = resolver.catalogue();
        let mut agents = BTreeMap::new();
        for written in workflow.plan().agents() {
            let agent = catalogue.require_agent(written)?;
            agents.insert(agent.id().clone(), agent.clone());
        }
        Ok(Self { plan: workflow.plan().clone(), agents })
    }

    /// The versions that a run began with.
    ///
    /// # Errors
    /// `unknown_workflow` or `unknown_agent` if a version is gone; what the store says.
    pub(super) async fn recorded(begun: &RunStarted, resolver: &dyn DefinitionResolver) -> Result<Self, Cause> {
        let workflow = resolver.workflow(&begun.workflow, Some(&begun.version)).await?;
        let mut agents = BTreeMap::new();
        for (id, version) in &begun.agents {
            agents.insert(id.clone(), resolver.agent(id, Some(version)).await?);
        }
        Ok(Self { plan: workflow.plan().clone(), agents })
    }

    /// The versions, as a journal keeps them.
    pub(super) fn versions(&self) -> BTreeMap<AgentId, ContentHash> {
        self.agents.iter().map(|(id, agent)| (id.clone(), agent.hash())).collect()
    }

    /// One of its steps.
    ///
    /// # Errors
    /// `internal`: the machine asks for no other steps than those of its plan.
    pub(super) fn step(&self, id: &StepId) -> Result<&PlanStep, Cause> {
        self.plan.step(id).ok_or_else(|| Cause::new(ErrorCode::Internal, format!("the plan has no step `{id}`")))
    }

    /// One of its agents, by its whole id.
    ///
    /// # Errors
    /// `unknown_agent`, which a run that began cannot meet.
    pub(super) fn agent(&self, id: &AgentId) -> Result<&Arc<Agent>, Cause> {
        self.agents
            .get(id)
            .ok_or_else(|| Cause::new(ErrorCode::UnknownAgent, format!("the run is pinned to no agent `{id}`")))
    }

    /// True if the newest definitions are others.
    pub(super) fn is_outdated(&self, resolver: &dyn DefinitionResolver) -> bool {
        let catalogue = resolver.catalogue();
        let workflow = catalogue.workflow(&self.plan.workflow).map(|workflow| workflow.hash());
        workflow != Some(self.plan.hash)
            || self.agents.values().any(|agent| {
                let newest = catalogue.agent(agent.id()).map(|newest| newest.hash());
                newest != Some(agent.hash())
            })
    }

    /// Every version, with its body.
    fn bodies<'p>(&'p self, workflow: &'p Workflow) -> impl Iterator<Item = (ContentHash, &'p str)> {
        let agents = self.agents.values().map(|agent| (agent.hash(), agent.body().as_ref()));
        std::iter::once((workflow.hash(), workflow.body().as_ref())).chain(agents)
    }
}

/// The bodies that this process has put into the store already.
#[derive(Default)]
pub(super) struct StoredDefinitions(Mutex<HashSet<ContentHash>>);

impl StoredDefinitions {
    /// Makes sure that these versions outlive their files.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn ensure_stored(
        &self,
        pinned: &Pinned,
        workflow: &Workflow,
        bodies: &dyn DefinitionStore,
    ) -> Result<(), Cause> {
        for (hash, body) in pinned.bodies(workflow) {
            if self.knows(&hash) {
                continue;
            }
            bodies.put(&hash, body).await.map_err(|error| error.cause())?;
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hash);
        }
        Ok(())
    }

    fn knows(&self, hash: &ContentHash) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(hash)
    }
}
