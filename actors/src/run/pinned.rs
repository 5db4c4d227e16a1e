//! The versions of workflow and agents that a run is pinned to, independent of later changes of the files. The
//! versions of all runs below it are pinned with the outermost run. The start of a run ensures that these versions are
//! stored for as long as the run needs them.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use greenroom_definitions::plan::{Plan, PlanStep, StepTarget};
use greenroom_definitions::{Agent, Catalogue, Workflow};
use greenroom_protocol::journal::{InnerVersions, RunStarted};
use greenroom_protocol::{AgentId, Cause, ContentHash, ErrorCode, StepId};
use greenroom_registry::definition_store::DefinitionStore;

use crate::definition_resolver::DefinitionResolver;

/// The definitions of a run, in the versions that it is pinned to.
pub(super) struct PinnedDefinitions {
    pub(super) plan: Arc<Plan>,
    agents: BTreeMap<AgentId, Arc<Agent>>,
}

impl PinnedDefinitions {
    /// The newest agents for this version of a workflow.
    ///
    /// # Errors
    /// `unknown_agent` if the catalogue lacks one.
    pub(super) fn from_newest(workflow: &Workflow, resolver: &dyn DefinitionResolver) -> Result<Self, Cause> {
        let catalogue = resolver.catalogue();
        let mut agents = BTreeMap::new();
        for agent_id in workflow.plan().agents() {
            let agent = catalogue.require_agent(agent_id)?;
            agents.insert(agent.id().clone(), agent.clone());
        }
        Ok(Self { plan: workflow.plan().clone(), agents })
    }

    /// The agents for this version of a workflow that a run above it is pinned to.
    ///
    /// # Errors
    /// `unknown_agent` if a version is missing; an error of the store.
    pub(super) async fn from_inner(
        workflow: &Workflow,
        inner: &InnerVersions,
        resolver: &dyn DefinitionResolver,
    ) -> Result<Self, Cause> {
        let mut agents = BTreeMap::new();
        for named in workflow.plan().agents() {
            let agent = match inner.agent(named) {
                Some((id, version)) => resolver.agent(id, Some(&version)).await?,
                None => resolver.catalogue().require_agent(named)?.clone(),
            };
            agents.insert(agent.id().clone(), agent);
        }
        Ok(Self { plan: workflow.plan().clone(), agents })
    }

    /// The versions with which a run started.
    ///
    /// # Errors
    /// `unknown_workflow` or `unknown_agent` if a version is missing; an error of the store.
    pub(super) async fn from_recorded(started: &RunStarted, resolver: &dyn DefinitionResolver) -> Result<Self, Cause> {
        let workflow = resolver.workflow(&started.workflow, Some(&started.version)).await?;
        let mut agents = BTreeMap::new();
        for (id, version) in &started.agents {
            agents.insert(id.clone(), resolver.agent(id, Some(version)).await?);
        }
        Ok(Self { plan: workflow.plan().clone(), agents })
    }

    /// True if one of the agents processes personal data.
    pub(super) fn has_personal_data(&self) -> bool {
        self.agents.values().any(|agent| agent.has_personal_data())
    }

    /// True if a person approves the calls of a tool of one of the agents.
    pub(super) fn needs_tool_approval(&self) -> bool {
        self.agents.values().any(|agent| agent.needs_tool_approval())
    }

    /// The versions, as the journal records them.
    pub(super) fn versions(&self) -> BTreeMap<AgentId, ContentHash> {
        self.agents.iter().map(|(id, agent)| (id.clone(), agent.hash())).collect()
    }

    /// A step of the plan.
    ///
    /// # Errors
    /// `internal`, if the plan has no such step; the machine names only steps of its plan.
    pub(super) fn step(&self, id: &StepId) -> Result<&PlanStep, Cause> {
        self.plan.step(id).ok_or_else(|| Cause::new(ErrorCode::Internal, format!("the plan has no step `{id}`")))
    }

    /// An agent, by its full id.
    ///
    /// # Errors
    /// `unknown_agent`, which cannot happen after the start of a run.
    pub(super) fn agent(&self, id: &AgentId) -> Result<&Arc<Agent>, Cause> {
        self.agents
            .get(id)
            .ok_or_else(|| Cause::new(ErrorCode::UnknownAgent, format!("the run is pinned to no agent `{id}`")))
    }

    /// True if the newest definitions differ, those of the runs below it included.
    pub(super) fn is_outdated(&self, inner: &InnerVersions, resolver: &dyn DefinitionResolver) -> bool {
        let catalogue = resolver.catalogue();
        let newest = NewestInner::below(&self.plan, &catalogue).versions;
        if newest.workflows.iter().any(|(id, version)| inner.workflows.get(id).is_some_and(|pinned| pinned != version))
            || newest.teams.iter().any(|(id, version)| inner.teams.get(id).is_some_and(|pinned| pinned != version))
            || newest.agents.iter().any(|(id, version)| inner.agents.get(id).is_some_and(|pinned| pinned != version))
        {
            return true;
        }
        let workflow = catalogue.workflow(&self.plan.workflow).map(|workflow| workflow.hash());
        workflow != Some(self.plan.hash)
            || self.agents.values().any(|agent| {
                let newest = catalogue.agent(agent.id()).map(|newest| newest.hash());
                newest != Some(agent.hash())
            })
    }

    /// Every version, with the text of its definition.
    pub(super) fn definitions(&self, workflow: &Workflow) -> Vec<(ContentHash, Arc<str>)> {
        let agents = self.agents.values().map(|agent| (agent.hash(), agent.body().clone()));
        std::iter::once((workflow.hash(), workflow.body().clone())).chain(agents).collect()
    }
}

/// The newest versions of the definitions of all runs that may be started below a run.
#[derive(Default)]
pub(super) struct NewestInner {
    /// The versions, to be recorded with the run.
    pub(super) versions: InnerVersions,
    /// Each of them, with the text of its definition.
    pub(super) definitions: Vec<(ContentHash, Arc<str>)>,
}

impl NewestInner {
    /// The versions below a plan. A definition that the catalogue lacks is left out: the call that needs it fails.
    pub(super) fn below(plan: &Plan, catalogue: &Catalogue) -> Self {
        let mut inner = Self::default();
        inner.add_calls_of(plan, catalogue);
        inner
    }

    fn add_calls_of(&mut self, plan: &Plan, catalogue: &Catalogue) {
        for step in &plan.steps {
            if let StepTarget::Team { team, .. } = &step.target
                && let Some(team) = catalogue.team(team)
                && self.versions.teams.insert(team.id().clone(), team.hash()).is_none()
            {
                self.definitions.push((team.hash(), team.body().clone()));
            }
            let Some(workflow) = step.workflow().and_then(|workflow| catalogue.workflow(workflow)) else { continue };
            if self.versions.workflows.insert(workflow.id().clone(), workflow.hash()).is_some() {
                continue;
            }
            self.definitions.push((workflow.hash(), workflow.body().clone()));
            for agent in workflow.plan().agents().into_iter().filter_map(|agent| catalogue.agent(agent)) {
                if self.versions.agents.insert(agent.id().clone(), agent.hash()).is_none() {
                    self.definitions.push((agent.hash(), agent.body().clone()));
                }
            }
            self.add_calls_of(workflow.plan(), catalogue);
        }
    }
}

/// The definitions that this process has stored already.
#[derive(Default)]
pub(super) struct StoredDefinitions(Mutex<HashSet<ContentHash>>);

impl StoredDefinitions {
    /// Stores these versions, so that they remain after their files change.
    ///
    /// # Errors
    /// An error of the store.
    pub(super) async fn ensure_stored(
        &self,
        definitions: impl IntoIterator<Item = (ContentHash, Arc<str>)> + Send,
        store: &dyn DefinitionStore,
    ) -> Result<(), Cause> {
        for (hash, body) in definitions.into_iter().filter(|(hash, _)| !self.contains(hash)).collect::<Vec<_>>() {
            store.put(&hash, &body).await.map_err(|error| error.cause())?;
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hash);
        }
        Ok(())
    }

    fn contains(&self, hash: &ContentHash) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(hash)
    }
}
