//! Collects the facts of a request for policy from the catalogue and the stores. Facts state and never
//! decide; a fact that is not collected has a default that denies.

use std::sync::Arc;

use greenroom_actors::definition_resolver::DefinitionResolver;
use greenroom_actors::execution::ExecutionEnv;
use greenroom_actors::execution::model_registry::ModelRegistry;
use greenroom_actors::handler::unknown_artifact_error;
use greenroom_actors::tool::READ_ARTIFACT;
use greenroom_definitions::Agent;
use greenroom_definitions::agent::ToolRef;
use greenroom_definitions::capability::PERSONAL_DATA;
use greenroom_definitions::plan::StepTarget;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{
    CallTool, ContextChange, ContextRead, ContextWrite, Invoke, Maintenance, Query, StartRun, StartTeam,
};
use greenroom_protocol::value::size_bytes;
use greenroom_protocol::{AgentId, Cause, ContextKey, ErrorCode, Request, RunId, Timestamp};
use greenroom_registry::artifacts::ArtifactStore;
use greenroom_registry::core::PendingAuditEntry;
use greenroom_registry::journal::{Journal, Seq};
use greenroom_registry::ledger::Ledger;
use greenroom_registry::rate_windows::RateWindows;
use greenroom_registry::runs::{RunRecord, RunStore};
use greenroom_rego::{AgentFacts, Authenticated, Caller, Facts, NameSet, Relation, Resource};

mod callers;
mod error;
mod relation;
mod sizes;
mod usage;

pub use error::FactError;

use relation::{is_own_tenant, tenant_relation};
use sizes::{largest, text_bytes};

/// Collects facts.
pub struct FactCollector {
    pub(crate) definitions: Arc<dyn DefinitionResolver>,
    pub(crate) runs: Arc<dyn RunStore>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) ledger: Arc<dyn Ledger>,
    /// The windows that pods share, if they do.
    pub(crate) rate_windows: Option<Arc<dyn RateWindows>>,
    pub(crate) artifacts: Arc<dyn ArtifactStore>,
    pub(crate) models: ModelRegistry,
    /// States what communicates with the outside.
    pub(crate) env: Arc<ExecutionEnv>,
}

impl FactCollector {
    /// Collects the facts of a request whose audit entry is submitted. An agent that receives an artifact with
    /// personal data counts as one that processes such data.
    ///
    /// # Errors
    /// [`FactError`]
    pub async fn collect(
        &self,
        request: &Authenticated,
        audit_entry: &PendingAuditEntry,
        has_personal_data: bool,
        now: Timestamp,
    ) -> Result<Facts, FactError> {
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
            Request::Maintain(maintenance) => maintenance_facts(request, maintenance),
        };
        let agent = facts.agent.map(|agent| match has_personal_data {
            true => AgentFacts { capabilities: with_personal_data(&agent.capabilities), ..agent },
            false => agent,
        });
        Ok(Facts { usage, agent, audited: !audit_entry.has_failed(), ..facts })
    }

    async fn invoke(&self, request: &Authenticated, invoke: &Invoke) -> Result<Facts, Cause> {
        let agent = self.definitions.agent(&invoke.agent, invoke.version.as_ref()).await?;
        warn_if_deprecated(&agent);
        let resource = Resource::Agent { agent: agent.id().clone(), version: agent.hash() };
        let caller = self.calling_agent(request).await?;
        let relation = Relation {
            workflow_step: self
                .is_step(request, |target| match target {
                    StepTarget::Agent(named) => self.is_agent(named, agent.id()),
                    StepTarget::Workflow(_)
                    | StepTarget::Team { .. }
                    | StepTarget::Approval
                    | StepTarget::Wait { .. } => false,
                })
                .await?
                || self.names_compensation(request, agent.id()).await?,
            team_member: self.is_member(request.team(), agent.id()).await?,
            can_work_with: caller
                .as_ref()
                .is_some_and(|caller| self.definitions.catalogue().may_work_with(caller.id(), agent.id())),
            tool_declared: caller.as_ref().is_some_and(|caller| {
                caller.spec().tools.iter().any(|tool| match &tool.tool {
                    ToolRef::Agent(named) => self.is_agent(named, agent.id()),
                    ToolRef::Native(_) | ToolRef::Http(_) | ToolRef::Mcp { .. } => false,
                })
            }),
            ..tenant_relation(request)
        };
        let model = invoke.options.model.as_deref();
        Ok(Facts {
            agent: Some(self.agent_facts(&agent, model)),
            policies: agent.spec().policies.iter().collect(),
            relation,
            document_bytes: largest([&invoke.inputs, &invoke.context]),
            cost_limited: agent.cost_max().is_some(),
            compensates: self.compensates(request, invoke.key.as_ref(), agent.id()).await?,
            ..Facts::for_resource(resource)
        })
    }

    async fn start_run(&self, request: &Authenticated, start: &StartRun) -> Result<Facts, Cause> {
        let workflow = self.definitions.workflow(&start.workflow, start.version.as_ref()).await?;
        let resource = Resource::Workflow { workflow: workflow.id().clone(), version: workflow.hash() };
        let team_workflow = self.calling_team(request).await?.is_some_and(|team| {
            let named = &team.spec().workflows;
            named.is_empty() || named.contains(workflow.id())
        });
        let relation = Relation {
            team_workflow,
            workflow_step: self
                .is_step(request, |target| match target {
                    StepTarget::Workflow(named) => named == workflow.id(),
                    StepTarget::Agent(_) | StepTarget::Team { .. } | StepTarget::Approval | StepTarget::Wait { .. } => {
                        false
                    }
                })
                .await?,
            ..tenant_relation(request)
        };
        Ok(Facts {
            policies: workflow.spec().policies.iter().collect(),
            relation,
            document_bytes: largest([&start.inputs, &start.context]),
            cost_limited: workflow.spec().limits.cost_max().is_some(),
            resumes: self.resumes_inner_run(request).await?,
            ..Facts::for_resource(resource)
        })
    }

    async fn start_team(&self, request: &Authenticated, start: &StartTeam) -> Result<Facts, Cause> {
        let team = self.definitions.requested_team(&start.team, start.version.as_ref()).await?;
        let workflow = self.definitions.workflow(&start.workflow, start.workflow_version.as_ref()).await?;
        let named = &team.spec().workflows;
        let relation = Relation {
            team_workflow: named.is_empty() || named.contains(workflow.id()),
            workflow_step: self
                .is_step(request, |target| match target {
                    StepTarget::Team { team: named, .. } => named == team.id(),
                    StepTarget::Agent(_) | StepTarget::Workflow(_) | StepTarget::Approval | StepTarget::Wait { .. } => {
                        false
                    }
                })
                .await?,
            ..tenant_relation(request)
        };
        Ok(Facts {
            policies: team.spec().policies.iter().collect(),
            relation,
            document_bytes: largest([&start.inputs, &start.context]),
            cost_limited: team.spec().limits.cost_max().is_some() || workflow.spec().limits.cost_max().is_some(),
            resumes: self.resumes_inner_run(request).await?,
            ..Facts::for_resource(Resource::Team { team: team.id().clone(), version: team.hash() })
        })
    }

    async fn run(&self, request: &Authenticated, run: &RunId) -> Result<Facts, Cause> {
        let record = self.run_record(request, run).await?;
        let relation = Relation { own_tenant: is_own_tenant(request, &record), ..Relation::default() };
        let policies = self.run_policies(&record).await?;
        let RunRecord { run, root, workflow, version, team, owner, .. } = record;
        let resource = Resource::Run { run, root, workflow, version, team, tenant: owner.tenant };
        Ok(Facts { policies, relation, ..Facts::for_resource(resource) })
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
        // The runs that a team's run calls have the context of the team.
        let own_run = request.chain().len() <= 1 || request.team_run() == Some(run);
        let relation = Relation {
            own_tenant: own_run && is_own_tenant(request, &record),
            no_personal_data: !record.personal_data,
            // A team and its run belong to the team themselves; an agent has to be one of its members.
            team_member: own_run
                && match request.caller() {
                    Caller::Workflow { .. } | Caller::Team { .. } => {
                        record.team.is_some() && request.team() == record.team.as_ref()
                    }
                    Caller::Agent { agent, .. } => self.is_member(record.team.as_ref(), agent).await?,
                    Caller::User { .. } | Caller::None => false,
                },
            provides_to_team: caller
                .as_ref()
                .zip(key)
                .is_some_and(|(agent, key)| agent.spec().collaboration.provides_to_team.contains(key)),
            ..Relation::default()
        };
        let policies = match request.caller() {
            Caller::User { .. } => self.run_policies(&record).await?,
            // The grant of the run, which is a caller, has them.
            Caller::Workflow { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None => NameSet::default(),
        };
        Ok(Facts {
            agent: caller.as_ref().map(|agent| self.agent_facts(agent, None)),
            policies,
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
            own_memory: caller.as_ref().is_some_and(|caller| caller.id() == agent.id()),
            team_member: self.is_member(request.team(), agent.id()).await?,
            ..tenant_relation(request)
        };
        Ok(Facts {
            agent: Some(self.agent_facts(&agent, None)),
            policies: agent.spec().policies.iter().collect(),
            relation,
            document_bytes,
            ..Facts::for_resource(Resource::Memory { agent: agent.id().clone() })
        })
    }

    async fn call_tool(&self, request: &Authenticated, call: &CallTool) -> Result<Facts, Cause> {
        let caller = self.calling_agent(request).await?;
        let relation = Relation {
            tool_declared: caller.as_ref().is_some_and(|agent| has_tool(agent, &call.tool)),
            team_member: match &caller {
                Some(agent) => self.is_member(request.team(), agent.id()).await?,
                None => false,
            },
            ..tenant_relation(request)
        };
        Ok(Facts {
            agent: caller.as_ref().map(|agent| self.agent_facts(agent, None)),
            relation,
            document_bytes: largest([&call.arguments]),
            internal_tool: !self.env.is_external_tool(&call.tool),
            ..Facts::for_resource(Resource::Tool { tool: call.tool.clone() })
        })
    }

    async fn query(&self, request: &Authenticated, query: &Query) -> Result<Facts, Cause> {
        let relation = match query {
            Query::Run { run } | Query::Events { run, .. } => {
                let record = self.run_record(request, run).await?;
                let own_tenant = is_own_tenant(request, &record);
                Relation { own_tenant, no_personal_data: !record.personal_data, ..Relation::default() }
            }
            Query::Artifact { hash, .. } => {
                let info =
                    self.artifacts.info(&request.principal().id.tenant, hash).await.map_err(|error| error.cause())?;
                let info = info.ok_or_else(|| unknown_artifact_error(hash))?;
                Relation { no_personal_data: !info.personal_data, ..tenant_relation(request) }
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
            // A list has no content.
            | Query::Costs { .. } => Relation { no_personal_data: true, ..tenant_relation(request) },
        };
        Ok(Facts { relation, ..Facts::for_resource(Resource::Collection { kind: query.resource() }) })
    }

    // === sources of facts ===

    /// The record of a run of the user's tenant. A run of another tenant does not exist for the user: the
    /// cause is the same as for an id that nothing has.
    async fn run_record(&self, request: &Authenticated, run: &RunId) -> Result<RunRecord, Cause> {
        let record = self.runs.get(run).await.map_err(|error| error.cause())?;
        let record = record.filter(|record| record.owner.tenant == request.principal().id.tenant);
        record.ok_or_else(|| Cause::new(ErrorCode::UnknownRun, format!("there is no run {run}")))
    }

    /// True if the run that a nested request starts has started already and has not ended: the run that calls it
    /// was resumed.
    async fn resumes_inner_run(&self, request: &Authenticated) -> Result<bool, Cause> {
        if request.root().is_none() {
            return Ok(false);
        }
        let record = self.runs.get(&RunId::for_request(request.id())).await.map_err(|error| error.cause())?;
        Ok(record.is_some_and(|record| Some(&record.root) == request.root() && !record.status.is_terminal()))
    }

    /// The policies with which a run started: those of its workflow, and those of all that called it.
    async fn run_policies(&self, record: &RunRecord) -> Result<NameSet, Cause> {
        let first = self.journal.read(&record.run, Seq(0), 1).await.map_err(|error| error.cause())?;
        if let Some(Entry::RunStarted(started)) = first.into_iter().next().map(|record| record.entry)
            && let Some(policies) = started.policies
        {
            return Ok(policies.into_iter().collect());
        }
        // A release that did not record them has started the run.
        let catalogue = self.definitions.catalogue();
        let team = record.team.as_ref().and_then(|team| catalogue.team(team)).map(|team| &team.spec().policies);
        let workflow = match self.definitions.workflow(&record.workflow, Some(&record.version)).await {
            Ok(workflow) => Some(workflow),
            // A run whose definition is lost cannot resume, but it can be cancelled.
            Err(cause) if cause.code == ErrorCode::UnknownWorkflow => None,
            Err(cause) => return Err(cause),
        };
        let own = workflow.as_ref().map(|workflow| &workflow.spec().policies);
        Ok(own.into_iter().chain(team).flatten().collect())
    }

    fn agent_facts(&self, agent: &Agent, model: Option<&str>) -> AgentFacts {
        AgentFacts {
            agent: agent.id().clone(),
            category: agent.spec().category.clone(),
            capabilities: agent.spec().capabilities.iter().collect(),
            internal_model: self.models.is_internal(self.definitions.catalogue().models(), agent, model)
                && !self.env.is_external_agent(agent),
        }
    }
}

/// Maintenance of runs concerns those of the user's tenant only.
fn maintenance_facts(request: &Authenticated, maintenance: &Maintenance) -> Facts {
    let resource = Resource::Collection { kind: maintenance.resource().to_owned() };
    Facts { relation: tenant_relation(request), ..Facts::for_resource(resource) }
}

/// True if the definition of an agent names the tool. Results of tools become artifacts, so an agent with any tool may
/// read them.
fn has_tool(agent: &Agent, tool: &str) -> bool {
    let tools = &agent.spec().tools;
    tools.iter().any(|used| used.tool.to_string() == tool) || (tool == READ_ARTIFACT && !tools.is_empty())
}

fn with_personal_data(capabilities: &NameSet) -> NameSet {
    capabilities.iter().chain([PERSONAL_DATA]).collect()
}

/// Logs the call of an agent that something has replaced.
fn warn_if_deprecated(agent: &Agent) {
    if let Some(deprecated) = &agent.spec().deprecated {
        tracing::warn!(
            agent.id = %agent.id(), agent.since = deprecated.since, agent.replacement = %deprecated.replacement,
            "a deprecated agent is called"
        );
    }
}
