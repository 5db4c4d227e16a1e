//! Definitions, scripts and requests of a harness.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::future::BoxFuture;
use greenroom_definitions::catalogue::CatalogueParts;
use greenroom_definitions::{Agent, AgentSpec, Catalogue, Team, TeamSpec, Workflow, WorkflowSpec};
use greenroom_protocol::conversation::StepApprovals;
use greenroom_protocol::request::{CallOptions, StartRun, StartTeam};
use greenroom_protocol::{
    AgentId, Cause, ContentHash, ErrorCode, Json, Request, RequestId, TeamId, Values, WorkflowId,
};
use serde_json::json;

use crate::definition_resolver::DefinitionResolver;

/// One call of an agent, as the pipeline received it.
#[derive(Debug, Clone)]
pub(crate) struct RecordedCall {
    pub(crate) agent: String,
    pub(crate) inputs: Values,
    pub(crate) context: Values,
    pub(crate) key: String,
    pub(crate) request: RequestId,
    /// 1 for the first call with this key.
    pub(crate) attempt: usize,
    /// What the run adds for an agent whose tools need approvals.
    pub(crate) approvals: Option<StepApprovals>,
}

/// The behaviour of an agent.
pub(crate) type Script = Arc<dyn Fn(RecordedCall) -> BoxFuture<'static, Result<Values, Cause>> + Send + Sync>;

/// A script that completes immediately.
pub(crate) fn immediate(result: impl Fn(RecordedCall) -> Result<Values, Cause> + Send + Sync + 'static) -> Script {
    Arc::new(move |call| {
        let result = result(call);
        Box::pin(async move { result })
    })
}

/// Every agent returns its own name as `out`.
pub(crate) fn names() -> Script {
    immediate(|call| Ok(values(json!({ "out": call.agent }))))
}

pub(crate) fn values(object: Json) -> Values {
    serde_json::from_value(object).unwrap()
}

/// The definitions of a harness.
#[derive(Clone, Default)]
pub(crate) struct TestDefinitions {
    pub(crate) agents: Vec<Json>,
    pub(crate) workflows: Vec<Json>,
    pub(crate) teams: Vec<Json>,
}

/// A native agent with the inputs `data` and `text` and the output `out`.
pub(crate) fn agent(id: &str, members: Json) -> Json {
    let mut spec = json!({
        "agent_id": id, "name": id, "category": "business_ops", "description": "does things", "version": "1",
        "inputs": [{"name": "data", "type": "object", "required": false}, {"name": "text", "type": "text", "required": false}],
        "outputs": [{"name": "out", "type": "text"}],
        "implementation": {"runtime": "native", "handler": "native.test"},
    });
    spec.as_object_mut().unwrap().extend(members.as_object().cloned().unwrap_or_default());
    spec
}

pub(crate) fn workflow(id: &str, steps: Json) -> Json {
    json!({"workflow_id": id, "name": id, "steps": steps})
}

pub(super) struct FakeResolver {
    pub(super) newest: Mutex<Arc<Catalogue>>,
    pub(super) all: Vec<Arc<Catalogue>>,
}

#[async_trait]
impl DefinitionResolver for FakeResolver {
    fn catalogue(&self) -> Arc<Catalogue> {
        self.newest.lock().unwrap().clone()
    }
    async fn agent(&self, id: &AgentId, version: Option<&ContentHash>) -> Result<Arc<Agent>, Cause> {
        let matches = |agent: &&Arc<Agent>| version.is_none_or(|version| agent.hash() == *version);
        let found = self.all.iter().rev().filter_map(|catalogue| catalogue.agent(id)).find(matches);
        found.cloned().ok_or_else(|| Cause::new(ErrorCode::UnknownAgent, id.to_string()))
    }
    async fn workflow(&self, id: &WorkflowId, version: Option<&ContentHash>) -> Result<Arc<Workflow>, Cause> {
        let matches = |workflow: &&Arc<Workflow>| version.is_none_or(|version| workflow.hash() == *version);
        let found = self.all.iter().rev().filter_map(|catalogue| catalogue.workflow(id)).find(matches);
        found.cloned().ok_or_else(|| Cause::new(ErrorCode::UnknownWorkflow, id.to_string()))
    }
    async fn team(&self, id: &TeamId, version: Option<&ContentHash>) -> Result<Arc<Team>, Cause> {
        let matches = |team: &&Arc<Team>| version.is_none_or(|version| team.hash() == *version);
        let found = self.all.iter().rev().filter_map(|catalogue| catalogue.team(id)).find(matches);
        found.cloned().ok_or_else(|| Cause::new(ErrorCode::UnknownTeam, id.to_string()))
    }
}

pub(super) fn catalogue(files: &TestDefinitions) -> Arc<Catalogue> {
    let agents = files.agents.iter().map(|spec| serde_json::from_value::<AgentSpec>(spec.clone()).unwrap());
    let workflows = files.workflows.iter().map(|spec| serde_json::from_value::<WorkflowSpec>(spec.clone()).unwrap());
    let teams = files.teams.iter().map(|spec| serde_json::from_value::<TeamSpec>(spec.clone()).unwrap());
    Arc::new(Catalogue::new(CatalogueParts {
        agents: agents.map(|spec| Agent::new(spec).unwrap()).collect(),
        workflows: workflows.map(|spec| Workflow::new(spec).unwrap()).collect(),
        teams: teams.map(Team::new).collect(),
        ..CatalogueParts::default()
    }))
}

pub(crate) fn run_of(workflow: &str, inputs: Json) -> StartRun {
    StartRun {
        workflow: WorkflowId::new(workflow).unwrap(),
        inputs: values(inputs),
        context: Values::new(),
        version: None,
        detach: false,
        key: None,
        options: CallOptions::default(),
    }
}

pub(crate) fn start(workflow: &str, inputs: Json) -> Request {
    Request::StartRun(run_of(workflow, inputs))
}

pub(crate) fn detached(workflow: &str, inputs: Json) -> Request {
    Request::StartRun(StartRun { detach: true, ..run_of(workflow, inputs) })
}

pub(crate) fn start_team(team: &str, workflow: &str, inputs: Json, context: Json) -> Request {
    Request::StartTeam(StartTeam {
        team: TeamId::new(team).unwrap().into(),
        workflow: WorkflowId::new(workflow).unwrap(),
        inputs: values(inputs),
        context: values(context),
        version: None,
        workflow_version: None,
        detach: false,
        key: None,
        options: CallOptions::default(),
    })
}
