//! Collects the facts of a request for policy from the catalogue and the stores. Facts state and never
//! decide; a fact that is not collected has a default that denies.

use std::sync::Arc;

use greenroom_actors::definition_resolver::DefinitionResolver;
use greenroom_actors::execution::model_registry::ModelRegistry;
use greenroom_actors::handler::unknown_artifact_error;
use greenroom_definitions::agent::ToolRef;
use greenroom_definitions::capability::PERSONAL_DATA;
use greenroom_definitions::plan::StepTarget;
use greenroom_definitions::{Agent, Workflow};
use greenroom_protocol::request::{
    CallTool, ContextChange, ContextRead, ContextWrite, Invoke, Maintenance, MemoryChange, Query, StartRun, StartTeam,
};
use greenroom_protocol::value::size_bytes;
use greenroom_protocol::{AgentId, Cause, ContextKey, ErrorCode, Request, RunId, TeamId, Timestamp, Values};
use greenroom_registry::artifacts::ArtifactStore;
use greenroom_registry::ledger::{Ledger, Periods, UsageKey};
use greenroom_registry::runs::{RunRecord, RunStore};
use greenroom_rego::{AgentFacts, Authenticated, Caller, Facts, NameSet, Relation, Resource, UsageFacts, UsageTotals};

/// Collects facts.
pub struct FactCollector {
    pub(crate) definitions: Arc<dyn DefinitionResolver>,
    pub(crate) runs: Arc<dyn RunStore>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) artifacts: Arc<dyn ArtifactStore>,
    pub(crate) models: ModelRegistry,
}

impl FactCollector {
    /// Collects the facts of a request whose audit entry is submitted. An agent that receives an artifact with
    /// personal data counts as one that processes such data.
    ///
    /// # Errors
    /// A code of the class "rejected" if the resource does not exist; those of a store.
    pub async fn collect(
        &self,
        request: &Authenticated,
        has_personal_data: bool,
        now: Timestamp,
    ) -> Result<Facts, Cause> {
        let usage = self.usage(request, now).await?;
        let facts = match request.request() {
            Request::Invoke(invoke) => self.invoke(request, invoke).await?,
            Request::StartRun(start) => self.start_run(request, start).await?,
            Request::StartTeam(start) => self.start_team(request, start).await?,
            Request::SignalRun(signal) => self.run(request, &signal.run).await?,
            Request::ResumeRun(resume) => self.run(request, &resume.run).await?,
            Request::ContextRead(read) => self.context_read(request, read).await?,
            Request::ContextWrite(write) => self.context_write(request, write).await?,
            Request::MemoryRead(read) => self.memory(request, &read.agent, 0).await?,
            Request::MemoryWrite(write) => self.memory(request, &write.agent, text_bytes(&write.change)).await?,
            Request::CallTool(call) => self.call_tool(request, call).await?,
            Request::Query(query) => self.query(request, query).await?,
            Request::Maintain(maintenance) => maintenance_facts(maintenance),
        };
        let agent = facts.agent.map(|agent| match has_personal_data {
            true => AgentFacts { capabilities: with_personal_data(&agent.capabilities), ..agent },
            false => agent,
        });
        Ok(Facts { usage, agent, audited: true, ..facts })
    }

    /// The usage so far. A request of a user counts itself; its nested requests are part of it.
    async fn usage(&self, request: &Authenticated, now: Timestamp) -> Result<UsageFacts, Cause> {
        let principal = request.principal();
        let scope = UsageKey { tenant: principal.tenant.clone(), user: principal.user.clone() };
        let periods = Periods { user: principal.limits.period, tenant: principal.tenant_limits.period };
        let usage = if request.chain().len() <= 1 {
            self.ledger.count(&scope, periods, now).await
        } else {
            self.ledger.usage(&scope, periods, now).await
        };
        let usage = usage.map_err(|error| error.cause())?;
        Ok(UsageFacts {
            requests: usage.requests_hour,
            user: UsageTotals { tokens: usage.tokens_spent, usd: usage.cost_spent },
            tenant: UsageTotals { tokens: usage.tenant_tokens_spent, usd: usage.tenant_cost_spent },
            available: true,
        })
    }

    async fn invoke(&self, request: &Authenticated, invoke: &Invoke) -> Result<Facts, Cause> {
        let agent = self.definitions.agent(&invoke.agent, invoke.version.as_ref()).await?;
        let resource = Resource::Agent { agent: agent.id().clone(), version: agent.hash() };
        let caller = self.calling_agent(request).await?;
        let relation = Relation {
            own_tenant: true,
            workflow_step: self
                .is_step(request, |target| match target {
                    StepTarget::Agent(named) => self.is_agent(named, agent.id()),
                    StepTarget::Workflow(_) | StepTarget::Team { .. } | StepTarget::Approval => false,
                })
                .await?
                || self.compensates(request, agent.id()).await?,
            team_member: self.is_member(request.team(), agent.id()),
            can_work_with: caller
                .as_ref()
                .is_some_and(|caller| self.definitions.catalogue().may_work_with(caller.id(), agent.id())),
            tool_declared: caller.as_ref().is_some_and(|caller| {
                caller.spec().tools.iter().any(|tool| match tool {
                    ToolRef::Agent(named) => self.is_agent(named, agent.id()),
                    ToolRef::Native(_) => false,
                })
            }),
            ..Relation::default()
        };
        let model = invoke.options.model.as_deref();
        Ok(Facts {
            agent: Some(self.agent_facts(&agent, model)),
            policies: self.policies(&agent.spec().policies, request.team()),
            caller_policies: policies_of(caller.as_deref()),
            relation,
            document_bytes: largest([&invoke.inputs, &invoke.context]),
            cost_limited: agent.cost_max().is_some(),
            ..Facts::for_resource(resource)
        })
    }

    async fn start_run(&self, request: &Authenticated, start: &StartRun) -> Result<Facts, Cause> {
        let workflow = self.definitions.workflow(&start.workflow, start.version.as_ref()).await?;
        let resource = Resource::Workflow { workflow: workflow.id().clone(), version: workflow.hash() };
        let team_workflow =
            request.team().and_then(|team| self.definitions.catalogue().team(team).cloned()).is_some_and(|team| {
                let named = &team.spec().workflows;
                named.is_empty() || named.contains(workflow.id())
            });
        let relation = Relation {
            own_tenant: true,
            team_workflow,
            workflow_step: self
                .is_step(request, |target| match target {
                    StepTarget::Workflow(named) => named == workflow.id(),
                    StepTarget::Agent(_) | StepTarget::Team { .. } | StepTarget::Approval => false,
                })
                .await?,
            ..Relation::default()
        };
        Ok(Facts {
            policies: self.policies(&workflow.spec().policies, request.team()),
            relation,
            document_bytes: largest([&start.inputs, &start.context]),
            cost_limited: workflow.spec().limits.cost_max().is_some(),
            ..Facts::for_resource(resource)
        })
    }

    async fn start_team(&self, request: &Authenticated, start: &StartTeam) -> Result<Facts, Cause> {
        let team = self.definitions.catalogue().require_team(&start.team).cloned()?;
        let workflow = self.definitions.workflow(&start.workflow, None).await?;
        let named = &team.spec().workflows;
        let relation = Relation {
            own_tenant: true,
            team_workflow: named.is_empty() || named.contains(workflow.id()),
            workflow_step: self
                .is_step(request, |target| match target {
                    StepTarget::Team { team: named, .. } => named == team.id(),
                    StepTarget::Agent(_) | StepTarget::Workflow(_) | StepTarget::Approval => false,
                })
                .await?,
            ..Relation::default()
        };
        Ok(Facts {
            policies: team.spec().policies.iter().collect(),
            relation,
            document_bytes: largest([&start.inputs, &start.context]),
            cost_limited: team.spec().limits.cost_max().is_some() || workflow.spec().limits.cost_max().is_some(),
            ..Facts::for_resource(Resource::Team { team: team.id().clone(), version: team.hash() })
        })
    }

    async fn run(&self, request: &Authenticated, run: &RunId) -> Result<Facts, Cause> {
        let record = self.run_record(request, run).await?;
        let relation = Relation { own_tenant: true, ..Relation::default() };
        let resource = Resource::Run {
            run: record.run,
            workflow: record.workflow.clone(),
            version: record.version,
            team: record.team.clone(),
        };
        let workflow = self.definitions.workflow(&record.workflow, Some(&record.version)).await.ok();
        let policies = workflow.as_ref().map(|workflow| workflow.spec().policies.as_slice()).unwrap_or_default();
        Ok(Facts { policies: self.policies(policies, record.team.as_ref()), relation, ..Facts::for_resource(resource) })
    }

    async fn context_read(&self, request: &Authenticated, read: &ContextRead) -> Result<Facts, Cause> {
        self.context(request, &read.run, None, 0).await
    }

    async fn context_write(&self, request: &Authenticated, write: &ContextWrite) -> Result<Facts, Cause> {
        let bytes = match &write.change {
            ContextChange::Put(value) | ContextChange::Append(value) => size_bytes(value),
        };
        self.context(request, &write.run, Some(&write.key), bytes).await
    }

    async fn context(
        &self,
        request: &Authenticated,
        run: &RunId,
        key: Option<&ContextKey>,
        document_bytes: u64,
    ) -> Result<Facts, Cause> {
        let record = self.run_record(request, run).await?;
        let caller = self.calling_agent(request).await?;
        let own_run = request.chain().len() <= 1 || request.run() == Some(run);
        let relation = Relation {
            own_tenant: own_run,
            no_personal_data: !record.personal_data,
            // A team and its run belong to the team themselves; an agent has to be one of its members.
            team_member: own_run
                && match request.caller() {
                    Caller::Workflow { .. } | Caller::Team { .. } => {
                        record.team.is_some() && request.team() == record.team.as_ref()
                    }
                    Caller::Agent { agent, .. } => self.is_member(record.team.as_ref(), agent),
                    Caller::User { .. } | Caller::None => false,
                },
            provides_to_team: caller
                .as_ref()
                .zip(key)
                .is_some_and(|(agent, key)| agent.spec().collaboration.provides_to_team.contains(key)),
            ..Relation::default()
        };
        Ok(Facts {
            agent: caller.as_ref().map(|agent| self.agent_facts(agent, None)),
            policies: self.policies(&[], record.team.as_ref()),
            caller_policies: policies_of(caller.as_deref()),
            relation,
            document_bytes,
            ..Facts::for_resource(Resource::Context { run: record.run, key: key.cloned() })
        })
    }

    async fn memory(&self, request: &Authenticated, requested: &AgentId, document_bytes: u64) -> Result<Facts, Cause> {
        let caller = self.calling_agent(request).await?;
        let agent = match &caller {
            // The version of the caller, which may no longer be in the catalogue.
            Some(own) if own.id() == requested => Arc::clone(own),
            Some(_) | None => self.definitions.agent(requested, None).await?,
        };
        let relation = Relation {
            own_tenant: true,
            own_memory: caller.as_ref().is_some_and(|caller| caller.id() == agent.id()),
            team_member: self.is_member(request.team(), agent.id()),
            ..Relation::default()
        };
        Ok(Facts {
            agent: Some(self.agent_facts(&agent, None)),
            policies: self.policies(&agent.spec().policies, None),
            caller_policies: policies_of(caller.as_deref()),
            relation,
            document_bytes,
            ..Facts::for_resource(Resource::Memory { agent: agent.id().clone() })
        })
    }

    async fn call_tool(&self, request: &Authenticated, call: &CallTool) -> Result<Facts, Cause> {
        let caller = self.calling_agent(request).await?;
        let relation = Relation {
            own_tenant: true,
            tool_declared: caller
                .as_ref()
                .is_some_and(|agent| agent.spec().tools.iter().any(|tool| tool.to_string() == call.tool)),
            team_member: caller.as_ref().is_some_and(|agent| self.is_member(request.team(), agent.id())),
            ..Relation::default()
        };
        Ok(Facts {
            agent: caller.as_ref().map(|agent| self.agent_facts(agent, None)),
            caller_policies: policies_of(caller.as_deref()),
            relation,
            document_bytes: largest([&call.arguments]),
            ..Facts::for_resource(Resource::Tool { tool: call.tool.clone() })
        })
    }

    async fn query(&self, request: &Authenticated, query: &Query) -> Result<Facts, Cause> {
        let no_personal_data = match query {
            Query::Run { run } | Query::Events { run, .. } => !self.run_record(request, run).await?.personal_data,
            Query::Artifact { hash, .. } => {
                let info =
                    self.artifacts.info(&request.principal().tenant, hash).await.map_err(|error| error.cause())?;
                !info.ok_or_else(|| unknown_artifact_error(hash))?.personal_data
            }
            Query::Agents
            | Query::Agent { .. }
            | Query::Workflows
            | Query::Workflow { .. }
            | Query::Teams
            | Query::Team { .. }
            | Query::Runs { .. }
            | Query::Audit { .. }
            | Query::AuditEntry { .. }
            | Query::Costs { .. } => true,
        };
        let relation = Relation { own_tenant: true, no_personal_data, ..Relation::default() };
        Ok(Facts { relation, ..Facts::for_resource(Resource::Collection { kind: query.resource() }) })
    }

    // === sources of facts ===

    /// The record of a run of the user's tenant. A run of another tenant does not exist for the user: the
    /// cause is the same as for an id that nothing has.
    async fn run_record(&self, request: &Authenticated, run: &RunId) -> Result<RunRecord, Cause> {
        let record = self.runs.get(run).await.map_err(|error| error.cause())?;
        let record = record.filter(|record| record.tenant == request.principal().tenant);
        record.ok_or_else(|| Cause::new(ErrorCode::UnknownRun, format!("there is no run {run}")))
    }

    /// The calling agent, in the version of its permit.
    async fn calling_agent(&self, request: &Authenticated) -> Result<Option<Arc<Agent>>, Cause> {
        match request.caller() {
            Caller::Agent { agent, version } => self.definitions.agent(agent, Some(version)).await.map(Some),
            Caller::User { .. } | Caller::Workflow { .. } | Caller::Team { .. } | Caller::None => Ok(None),
        }
    }

    async fn calling_workflow(&self, request: &Authenticated) -> Result<Option<Arc<Workflow>>, Cause> {
        match request.caller() {
            Caller::Workflow { workflow, version, .. } => {
                self.definitions.workflow(workflow, Some(version)).await.map(Some)
            }
            Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None => Ok(None),
        }
    }

    async fn is_step(
        &self,
        request: &Authenticated,
        matches: impl Fn(&StepTarget) -> bool + Send,
    ) -> Result<bool, Cause> {
        let workflow = self.calling_workflow(request).await?;
        Ok(workflow.is_some_and(|workflow| workflow.plan().steps.iter().any(|step| matches(&step.target))))
    }

    async fn compensates(&self, request: &Authenticated, agent: &AgentId) -> Result<bool, Cause> {
        let workflow = self.calling_workflow(request).await?;
        Ok(workflow.is_some_and(|workflow| {
            let mut compensations = workflow.plan().steps.iter().filter_map(|step| step.compensate.as_ref());
            compensations.any(|compensate| self.is_agent(&compensate.agent, agent))
        }))
    }

    /// True if the id, with or without an ordinal, names this agent.
    fn is_agent(&self, named: &AgentId, agent: &AgentId) -> bool {
        named == agent || self.definitions.catalogue().agent(named).is_some_and(|other| other.id() == agent)
    }

    fn is_member(&self, team: Option<&TeamId>, agent: &AgentId) -> bool {
        let catalogue = self.definitions.catalogue();
        team.and_then(|team| catalogue.team(team)).is_some_and(|team| catalogue.is_member(team, agent))
    }

    fn policies(&self, own: &[String], team: Option<&TeamId>) -> NameSet {
        let catalogue = self.definitions.catalogue();
        let team_policies = team.and_then(|team| catalogue.team(team)).map(|team| team.spec().policies.as_slice());
        own.iter().chain(team_policies.unwrap_or_default()).collect()
    }

    fn agent_facts(&self, agent: &Agent, model: Option<&str>) -> AgentFacts {
        AgentFacts {
            agent: agent.id().clone(),
            category: agent.spec().category.clone(),
            capabilities: agent.spec().capabilities.iter().collect(),
            internal_model: self.models.is_internal(self.definitions.catalogue().models(), agent, model),
        }
    }
}

/// Maintenance of runs concerns those of the user's tenant only.
fn maintenance_facts(maintenance: &Maintenance) -> Facts {
    let relation = Relation { own_tenant: true, ..Relation::default() };
    Facts { relation, ..Facts::for_resource(Resource::Collection { kind: maintenance.resource().to_owned() }) }
}

fn policies_of(agent: Option<&Agent>) -> NameSet {
    agent.map(|agent| agent.spec().policies.iter().collect()).unwrap_or_default()
}

fn with_personal_data(capabilities: &NameSet) -> NameSet {
    capabilities.iter().chain([PERSONAL_DATA]).collect()
}

/// Bytes of the larger text.
fn text_bytes(change: &MemoryChange) -> u64 {
    match change {
        MemoryChange::Remember { text, index_text } => {
            text.len().max(index_text.as_ref().map_or(0, String::len)).try_into().unwrap_or(u64::MAX)
        }
        MemoryChange::Forget { .. } => 0,
    }
}

fn largest<const N: usize>(all: [&Values; N]) -> u64 {
    all.iter().flat_map(|values| values.values()).map(size_bytes).max().unwrap_or(0)
}
