//! The caller of a request and its definition, in the version of its permit: what it names may be called.

use std::sync::Arc;

use greenroom_definitions::plan::StepTarget;
use greenroom_definitions::{Agent, Team, Workflow};
use greenroom_protocol::{AgentId, CallKey, Cause, ErrorCode, TeamId};
use greenroom_rego::{Authenticated, Caller};

use super::FactCollector;

impl FactCollector {
    /// The calling agent, in the version of its permit.
    pub(super) async fn calling_agent(&self, request: &Authenticated) -> Result<Option<Arc<Agent>>, Cause> {
        match request.caller() {
            Caller::Agent { agent, version } => self.definitions.agent(agent, Some(version)).await.map(Some),
            Caller::User { .. } | Caller::Workflow { .. } | Caller::Team { .. } | Caller::None => Ok(None),
        }
    }

    pub(super) async fn calling_workflow(&self, request: &Authenticated) -> Result<Option<Arc<Workflow>>, Cause> {
        match request.caller() {
            Caller::Workflow { workflow, version, .. } => {
                self.definitions.workflow(workflow, Some(version)).await.map(Some)
            }
            Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None => Ok(None),
        }
    }

    /// The calling team: in the version of its permit if that is known, else the newest one.
    pub(super) async fn calling_team(&self, request: &Authenticated) -> Result<Option<Arc<Team>>, Cause> {
        let catalogue = self.definitions.catalogue();
        match request.caller() {
            Caller::Team { team, version, .. } => match catalogue.team(team).filter(|team| team.hash() == *version) {
                Some(team) => Ok(Some(Arc::clone(team))),
                None => match self.definitions.team(team, Some(version)).await {
                    Ok(team) => Ok(Some(team)),
                    // A version that no run is pinned to is not stored.
                    Err(cause) if cause.code == ErrorCode::UnknownTeam => Ok(catalogue.team(team).cloned()),
                    Err(cause) => Err(cause),
                },
            },
            Caller::User { .. } | Caller::Workflow { .. } | Caller::Agent { .. } | Caller::None => Ok(None),
        }
    }

    pub(super) async fn is_step(
        &self,
        request: &Authenticated,
        matches: impl Fn(&StepTarget) -> bool + Send,
    ) -> Result<bool, Cause> {
        let workflow = self.calling_workflow(request).await?;
        Ok(workflow.is_some_and(|workflow| workflow.plan().steps.iter().any(|step| matches(&step.target))))
    }

    /// True if a call of this agent compensates a step of the run that makes it: a completed step, whose call was
    /// permitted. The key of the call says so, which only the run itself makes: a request from outside has none. What a
    /// compensation calls inherits it with its grant.
    pub(super) async fn compensates(
        &self,
        request: &Authenticated,
        key: Option<&CallKey>,
        agent: &AgentId,
    ) -> Result<bool, Cause> {
        let Caller::Workflow { run, .. } = request.caller() else { return Ok(false) };
        let is_compensation = key.and_then(CallKey::run_compensation) == Some(CallKey::for_run_compensation(run));
        Ok(is_compensation && self.names_compensation(request, agent).await?)
    }

    /// True if the caller is a workflow, and one of its steps names this agent as its compensation.
    pub(super) async fn names_compensation(&self, request: &Authenticated, agent: &AgentId) -> Result<bool, Cause> {
        let workflow = self.calling_workflow(request).await?;
        Ok(workflow.is_some_and(|workflow| {
            let mut compensations = workflow.plan().steps.iter().filter_map(|step| step.compensate.as_ref());
            compensations.any(|compensate| self.is_agent(&compensate.agent, agent))
        }))
    }

    /// True if the id, with or without an ordinal, names this agent.
    pub(super) fn is_agent(&self, named: &AgentId, agent: &AgentId) -> bool {
        named == agent || self.definitions.catalogue().full_agent_id(named) == Some(agent)
    }

    /// True if the agent is a member of the team: one of the catalogue, or one that a request contained.
    pub(super) async fn is_member(&self, team: Option<&TeamId>, agent: &AgentId) -> Result<bool, Cause> {
        let Some(team) = team else { return Ok(false) };
        let catalogue = self.definitions.catalogue();
        match self.definitions.team(team, None).await {
            Ok(team) => Ok(catalogue.is_member(&team, agent)),
            Err(cause) if matches!(cause.code, ErrorCode::UnknownTeam | ErrorCode::InvalidDefinition) => Ok(false),
            Err(cause) => Err(cause),
        }
    }
}
