//! What policy needs to know about a request, found out from the catalogue and the ledger. Facts
//! state and never judge: what is not found out stays at a default that denies.

use std::sync::Arc;

use greenroom_actors::definition_resolver::DefinitionResolver;
use greenroom_actors::execution::model_registry::ModelRegistry;
use greenroom_definitions::agent::ToolRef;
use greenroom_definitions::plan::StepTarget;
use greenroom_definitions::{Agent, Workflow};
use greenroom_protocol::request::{
    CallTool, ContextChange, ContextRead, ContextWrite, Invoke, MemoryChange, Query, StartRun, StartTeam,
};
use greenroom_protocol::value::size_bytes;
use greenroom_protocol::{AgentId, Cause, ContextKey, ErrorCode, Request, RunId, TeamId, Timestamp, Values};
use greenroom_registry::ledger::{Ledger, Periods, UsageKey};
use greenroom_registry::runs::{RunRecord, RunStore};
use greenroom_rego::{AgentFacts, Authenticated, Caller, Facts, NameSet, Relation, Resource, UsageFacts, UsageTotals};

/// Finds facts out.
pub struct FactCollector {
    pub(crate) definitions: Arc<dyn DefinitionResolver>,
    pub(crate) runs: Arc<dyn RunStore>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) models: ModelRegistry,
}

impl FactCollector {
    /// The facts about a request whose bracket is open.
    ///
    /// # Errors
    /// A code of the class "rejected" if what is asked for does not exist; what a store says.
    pub async fn collect(&self, asked: &Authenticated, now: Timestamp) -> Result<Facts, Cause> {
        let usage = self.usage(asked, now).await?;
        let facts = match asked.request() {
            Request::Invoke(invoke) => self.invoke(asked, invoke).await?,
            Request::StartRun(start) => self.start_run(asked, start).await?,
            Request::StartTeam(start) => self.start_team(asked, start).await?,
            Request::SignalRun(signal) => self.run(asked, &signal.run).await?,
            Request::ResumeRun(resume) => self.run(asked, &resume.run).await?,
            Request::ContextRead(read) => self.context_read(asked, read).await?,
            Request::ContextWrite(write) => self.context_write(asked, write).await?,
            Request::MemoryRead(read) => self.memory(asked, &read.agent, 0).await?,
            Request::MemoryWrite(write) => self.memory(asked, &write.agent, text_bytes(&write.change)).await?,
            Request::CallTool(call) => self.call_tool(asked, call).await?,
            Request::Query(look) => self.look(asked, look).await?,
        };
        Ok(Facts { usage, audited: true, ..facts })
    }

    /// A user's own request is counted first and then judged; the hops behind it are part of it.
    async fn usage(&self, asked: &Authenticated, now: Timestamp) -> Result<UsageFacts, Cause> {
        let principal = asked.principal();
        let scope = UsageKey { tenant: principal.tenant.clone(), user: principal.user.clone() };
        let over = Periods { user: principal.limits.period, tenant: principal.tenant_limits.period };
        let found = if asked.chain().len() <= 1 {
            self.ledger.count(&scope, over, now).await
        } else {
            self.ledger.usage(&scope, over, now).await
        };
        let used = found.map_err(|error| error.cause())?;
        Ok(UsageFacts {
            requests: used.requests_hour,
            user: UsageTotals { tokens: used.tokens_spent, usd: used.cost_spent },
            tenant: UsageTotals { tokens: used.tenant_tokens_spent, usd: used.tenant_cost_spent },
            available: true,
        })
    }

    async fn invoke(&self, asked: &Authenticated, invoke: &Invoke) -> Result<Facts, Cause> {
        let agent = self.definitions.agent(&invoke.agent, invoke.version.as_ref()).await?;
        let target = Resource::Agent { agent: agent.id().clone(), version: agent.hash() };
        let speaking = self.calling_agent(asked).await?;
        let relation = Relation {
            own_tenant: true,
            workflow_step: self
                .is_step(asked, |target| match target {
                    StepTarget::Agent(named) => self.is_agent(named, agent.id()),
                    StepTarget::Workflow(_) | StepTarget::Team { .. } | StepTarget::Approval => false,
                })
                .await?
                || self.compensates(asked, agent.id()).await?,
            team_member: self.is_member(asked.team(), agent.id()),
            can_work_with: speaking
                .as_ref()
                .is_some_and(|speaking| self.definitions.catalogue().may_work_with(speaking.id(), agent.id())),
            tool_declared: speaking.as_ref().is_some_and(|speaking| {
                speaking.spec().tools.iter().any(|tool| match tool {
                    ToolRef::Agent(named) => self.is_agent(named, agent.id()),
                    ToolRef::Native(_) => false,
                })
            }),
            ..Relation::default()
        };
        let model = invoke.options.model.as_deref();
        Ok(Facts {
            agent: Some(self.agent_facts(&agent, model)),
            policies: self.policies(&agent.spec().policies, asked.team()),
            caller_policies: policies_of(speaking.as_deref()),
            relation,
            document_bytes: largest([&invoke.inputs, &invoke.context]),
            cost_limited: agent.cost_max().is_some(),
            ..Facts::for_resource(target)
        })
    }

    async fn start_run(&self, asked: &Authenticated, start: &StartRun) -> Result<Facts, Cause> {
        let workflow = self.definitions.workflow(&start.workflow, start.version.as_ref()).await?;
        let target = Resource::Workflow { workflow: workflow.id().clone(), version: workflow.hash() };
        let team_workflow =
            asked.team().and_then(|team| self.definitions.catalogue().team(team).cloned()).is_some_and(|team| {
                let named = &team.spec().workflows;
                named.is_empty() || named.contains(workflow.id())
            });
        let relation = Relation {
            own_tenant: true,
            team_workflow,
            workflow_step: self
                .is_step(asked, |target| match target {
                    StepTarget::Workflow(named) => named == workflow.id(),
                    StepTarget::Agent(_) | StepTarget::Team { .. } | StepTarget::Approval => false,
                })
                .await?,
            ..Relation::default()
        };
        Ok(Facts {
            policies: self.policies(&workflow.spec().policies, asked.team()),
            relation,
            document_bytes: largest([&start.inputs, &start.context]),
            cost_limited: workflow.spec().limits.cost_max().is_some(),
            ..Facts::for_resource(target)
        })
    }

    async fn start_team(&self, asked: &Authenticated, start: &StartTeam) -> Result<Facts, Cause> {
        let team = self.definitions.catalogue().require_team(&start.team).cloned()?;
        let workflow = self.definitions.workflow(&start.workflow, None).await?;
        let named = &team.spec().workflows;
        let relation = Relation {
            own_tenant: true,
            team_workflow: named.is_empty() || named.contains(workflow.id()),
            workflow_step: self
                .is_step(asked, |target| match target {
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

    async fn run(&self, asked: &Authenticated, run: &RunId) -> Result<Facts, Cause> {
        let head = self.head(run).await?;
        let relation = Relation { own_tenant: owns(asked, &head), ..Relation::default() };
        let target = Resource::Run {
            run: head.run,
            workflow: head.workflow.clone(),
            version: head.version,
            team: head.team.clone(),
        };
        let workflow = self.definitions.workflow(&head.workflow, Some(&head.version)).await.ok();
        let policies = workflow.as_ref().map(|workflow| workflow.spec().policies.as_slice()).unwrap_or_default();
        Ok(Facts { policies: self.policies(policies, head.team.as_ref()), relation, ..Facts::for_resource(target) })
    }

    async fn context_read(&self, asked: &Authenticated, read: &ContextRead) -> Result<Facts, Cause> {
        self.context(asked, &read.run, None, 0).await
    }

    async fn context_write(&self, asked: &Authenticated, write: &ContextWrite) -> Result<Facts, Cause> {
        let bytes = match &write.change {
            ContextChange::Put(value) | ContextChange::Append(value) => size_bytes(value),
        };
        self.context(asked, &write.run, Some(&write.key), bytes).await
    }

    async fn context(
        &self,
        asked: &Authenticated,
        run: &RunId,
        key: Option<&ContextKey>,
        document_bytes: u64,
    ) -> Result<Facts, Cause> {
        let head = self.head(run).await?;
        let speaking = self.calling_agent(asked).await?;
        let own_run = asked.chain().len() <= 1 || asked.run() == Some(run);
        let relation = Relation {
            own_tenant: owns(asked, &head) && own_run,
            // The team and its run are of the team themselves; an agent has to be one of its members.
            team_member: own_run
                && match asked.caller() {
                    Caller::Workflow { .. } | Caller::Team { .. } => {
                        head.team.is_some() && asked.team() == head.team.as_ref()
                    }
                    Caller::Agent { agent, .. } => self.is_member(head.team.as_ref(), agent),
                    Caller::User { .. } | Caller::None => false,
                },
            provides_to_team: speaking
                .as_ref()
                .zip(key)
                .is_some_and(|(agent, key)| agent.spec().collaboration.provides_to_team.contains(key)),
            ..Relation::default()
        };
        Ok(Facts {
            agent: speaking.as_ref().map(|agent| self.agent_facts(agent, None)),
            policies: self.policies(&[], head.team.as_ref()),
            caller_policies: policies_of(speaking.as_deref()),
            relation,
            document_bytes,
            ..Facts::for_resource(Resource::Context { run: head.run, key: key.cloned() })
        })
    }

    async fn memory(&self, asked: &Authenticated, wanted: &AgentId, document_bytes: u64) -> Result<Facts, Cause> {
        let speaking = self.calling_agent(asked).await?;
        let agent = match &speaking {
            // The version that speaks, which may be in the catalogue no more.
            Some(own) if own.id() == wanted => Arc::clone(own),
            Some(_) | None => self.definitions.agent(wanted, None).await?,
        };
        let relation = Relation {
            own_tenant: true,
            own_memory: speaking.as_ref().is_some_and(|speaking| speaking.id() == agent.id()),
            team_member: self.is_member(asked.team(), agent.id()),
            ..Relation::default()
        };
        Ok(Facts {
            agent: Some(self.agent_facts(&agent, None)),
            policies: self.policies(&agent.spec().policies, None),
            caller_policies: policies_of(speaking.as_deref()),
            relation,
            document_bytes,
            ..Facts::for_resource(Resource::Memory { agent: agent.id().clone() })
        })
    }

    async fn call_tool(&self, asked: &Authenticated, call: &CallTool) -> Result<Facts, Cause> {
        let speaking = self.calling_agent(asked).await?;
        let relation = Relation {
            own_tenant: true,
            tool_declared: speaking
                .as_ref()
                .is_some_and(|agent| agent.spec().tools.iter().any(|tool| tool.to_string() == call.tool)),
            team_member: speaking.as_ref().is_some_and(|agent| self.is_member(asked.team(), agent.id())),
            ..Relation::default()
        };
        Ok(Facts {
            agent: speaking.as_ref().map(|agent| self.agent_facts(agent, None)),
            caller_policies: policies_of(speaking.as_deref()),
            relation,
            document_bytes: largest([&call.arguments]),
            ..Facts::for_resource(Resource::Tool { tool: call.tool.clone() })
        })
    }

    async fn look(&self, asked: &Authenticated, look: &Query) -> Result<Facts, Cause> {
        let own_tenant = match look {
            Query::Run { run } | Query::Events { run, .. } => owns(asked, &self.head(run).await?),
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
        let relation = Relation { own_tenant, ..Relation::default() };
        Ok(Facts { relation, ..Facts::for_resource(Resource::Collection { kind: look.resource() }) })
    }

    // === what the facts are made of ===

    async fn head(&self, run: &RunId) -> Result<RunRecord, Cause> {
        let found = self.runs.get(run).await.map_err(|error| error.cause())?;
        found.ok_or_else(|| Cause::new(ErrorCode::UnknownRun, format!("there is no run {run}")))
    }

    /// The agent that speaks, in the version that was called on stage.
    async fn calling_agent(&self, asked: &Authenticated) -> Result<Option<Arc<Agent>>, Cause> {
        match asked.caller() {
            Caller::Agent { agent, version } => self.definitions.agent(agent, Some(version)).await.map(Some),
            Caller::User { .. } | Caller::Workflow { .. } | Caller::Team { .. } | Caller::None => Ok(None),
        }
    }

    async fn speaking_workflow(&self, asked: &Authenticated) -> Result<Option<Arc<Workflow>>, Cause> {
        match asked.caller() {
            Caller::Workflow { workflow, version, .. } => {
                self.definitions.workflow(workflow, Some(version)).await.map(Some)
            }
            Caller::User { .. } | Caller::Agent { .. } | Caller::Team { .. } | Caller::None => Ok(None),
        }
    }

    async fn is_step(&self, asked: &Authenticated, is: impl Fn(&StepTarget) -> bool + Send) -> Result<bool, Cause> {
        let workflow = self.speaking_workflow(asked).await?;
        Ok(workflow.is_some_and(|workflow| workflow.plan().steps.iter().any(|step| is(&step.target))))
    }

    async fn compensates(&self, asked: &Authenticated, agent: &AgentId) -> Result<bool, Cause> {
        let workflow = self.speaking_workflow(asked).await?;
        Ok(workflow.is_some_and(|workflow| {
            let mut undoing = workflow.plan().steps.iter().filter_map(|step| step.compensate.as_ref());
            undoing.any(|compensate| self.is_agent(&compensate.agent, agent))
        }))
    }

    /// True if the name, with or without an ordinal, means this agent.
    fn is_agent(&self, named: &AgentId, agent: &AgentId) -> bool {
        named == agent || self.definitions.catalogue().agent(named).is_some_and(|found| found.id() == agent)
    }

    fn is_member(&self, team: Option<&TeamId>, agent: &AgentId) -> bool {
        let catalogue = self.definitions.catalogue();
        team.and_then(|team| catalogue.team(team)).is_some_and(|team| catalogue.is_member(team, agent))
    }

    fn policies(&self, own: &[String], team: Option<&TeamId>) -> NameSet {
        let catalogue = self.definitions.catalogue();
        let of_team = team.and_then(|team| catalogue.team(team)).map(|team| team.spec().policies.as_slice());
        own.iter().chain(of_team.unwrap_or_default()).collect()
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

fn owns(asked: &Authenticated, head: &RunRecord) -> bool {
    head.tenant == asked.principal().tenant
}

fn policies_of(agent: Option<&Agent>) -> NameSet {
    agent.map(|agent| agent.spec().policies.iter().collect()).unwrap_or_default()
}

/// Bytes of the larger of the texts.
fn text_bytes(change: &MemoryChange) -> u64 {
    match change {
        MemoryChange::Remember { text, index_text: about } => {
            text.len().max(about.as_ref().map_or(0, String::len)).try_into().unwrap_or(u64::MAX)
        }
        MemoryChange::Forget { .. } => 0,
    }
}

fn largest<const N: usize>(all: [&Values; N]) -> u64 {
    all.iter().flat_map(|values| values.values()).map(size_bytes).max().unwrap_or(0)
}
