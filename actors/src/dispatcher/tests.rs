//! The dispatcher over one category, with hosts of runs and teams that record their calls.

use std::sync::Mutex;

use greenroom_protocol::audit::Opening;
use greenroom_protocol::request::{ContextChange, Invoke};
use greenroom_protocol::{CallKey, CategoryId, ContentHash, RequestId};
use greenroom_protocol::{
    ContextKey, Issuer, Json, PodId, Request, Status, TeamId, TenantId, TraceId, UserId, WorkflowId,
};
use greenroom_rego::{Grant, TypedPermit, testing};
use ractor::ActorRef;
use serde_json::json;

use super::*;
use crate::category::{CategoryConfig, CategoryHandle, CategoryHandles};
use crate::handler::{HandlerInput, HandlerMode};
use crate::remote::OwnLabels;
use crate::test_env::{FnHandler, NoMsg, TestEnv, TestEnvOptions, TestRoot, invoke, native};

/// Records its calls, and has only the agent `member`.
#[derive(Default)]
struct RecordingHost(Mutex<Vec<String>>);

impl RecordingHost {
    fn record(&self, value: impl Into<String>) -> Reply {
        self.0.lock().unwrap().push(value.into());
        ExecutionFailure::from(Cause::new(ErrorCode::UnknownRun, "recorded only")).into_reply("x".into())
    }

    fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl RunHost for RecordingHost {
    async fn start(&self, _: Permitted<StartRun>, _: &mut PendingAuditEntry, _: Option<RunTicket>) -> Reply {
        self.record("start run")
    }
    async fn resume(&self, _: Permitted<ResumeRun>) -> Reply {
        self.record("resume run")
    }
    async fn signal(&self, _: Permitted<SignalRun>) -> Reply {
        self.record("signal run")
    }
    fn fence(&self, _: &RunId) -> Option<Fence> {
        None
    }
}

#[async_trait]
impl TeamHost for RecordingHost {
    async fn start(&self, _: Permitted<StartTeam>, _: Option<RunTicket>) -> Reply {
        self.record("start team")
    }
    async fn invoke(&self, run: &RunId, assignment: Box<Invocation>) -> Result<ExecutionResult, Box<Invocation>> {
        if assignment.agent.id().as_str() != "member" {
            return Err(assignment);
        }
        self.record(format!("member of {run}"));
        Ok(Ok(Outcome::default()))
    }
    async fn read(&self, _: Permitted<ContextRead>) -> Result<Outcome, Cause> {
        self.record("read");
        Ok(Outcome::default())
    }
    async fn write(&self, _: Permitted<ContextWrite>) -> Result<Outcome, Cause> {
        self.record("write");
        Ok(Outcome::default())
    }
}

mod remote;

/// The same agent, which needs a label.
fn labelled(mut agent: Json) -> Json {
    agent["implementation"]["placement"] = json!({ "labels": ["gpu"] });
    agent
}

struct Harness {
    test_env: TestEnv,
    dispatcher: Dispatcher,
    host: Arc<RecordingHost>,
    audit_entry: OpenAuditEntry,
    _root: ActorRef<NoMsg>,
}

async fn harness() -> Harness {
    harness_with(Arc::new(OwnLabels::default())).await
}

async fn harness_with(remote: Arc<dyn RemoteHosts>) -> Harness {
    let handler = |input: HandlerInput| async move {
        let values = Values::from([("summary".to_owned(), json!(input.agent.id().as_str()))]);
        Ok::<_, Cause>(values)
    };
    let test_env = TestEnv::new(TestEnvOptions {
        agents: vec![
            native("member", "native.agent_id"),
            native("other", "native.agent_id"),
            labelled(native("placed", "native.agent_id")),
        ],
        handlers: vec![Arc::new(FnHandler("native.agent_id", HandlerMode::Async, handler))],
        ..TestEnvOptions::default()
    });
    let category =
        CategoryHandle::new(CategoryId::new("ops").unwrap(), test_env.env.clone(), CategoryConfig::default());
    let root = TestRoot::start().await;
    category.start_supervisor(root.get_cell()).await.unwrap();
    let categories = CategoryHandles::default();
    categories.insert(category);
    let host = Arc::new(RecordingHost::default());
    let dispatcher = Dispatcher::new(DispatcherParts {
        categories,
        runs: host.clone(),
        teams: host.clone(),
        env: test_env.env.clone(),
        remote,
    });
    let opening = Opening {
        request: RequestId::from_u128(1),
        trace: TraceId::from_u128(1),
        pod: PodId::new("pod").unwrap(),
        issuer: Issuer::default(),
        tenant: TenantId::new("acme").unwrap(),
        user: UserId::new("admin").unwrap(),
        caller: "user:admin".into(),
        action: "invoke".into(),
        resource: "x".into(),
        run: None,
    };
    let audit_entry = test_env.stores.core.open_entry(opening, test_env.clock.now()).await.unwrap();
    Harness { test_env, dispatcher, host, audit_entry, _root: root }
}

impl Harness {
    async fn typed_permit(&self, request: Request, target: Resource) -> TypedPermit {
        testing::permit(9, request, target, self.test_env.clock.now()).await.unwrap().into_typed()
    }

    /// The grant of a team's run, which issues the requests to its members.
    async fn team_grant(&self) -> Grant {
        let request = Request::StartTeam(StartTeam {
            team: TeamId::new("team").unwrap().into(),
            workflow: WorkflowId::new("flow").unwrap(),
            inputs: Values::new(),
            context: Values::new(),
            version: None,
            workflow_version: None,
            detach: false,
            key: None,
            options: greenroom_protocol::request::CallOptions::default(),
        });
        let resource =
            Resource::Team { team: TeamId::new("team").unwrap(), version: ContentHash::from_content(b"team") };
        let TypedPermit::StartTeam(permit) = self.typed_permit(request, resource).await else { panic!("another verb") };
        permit.redeem().0
    }

    fn target(&self, id: &str) -> Resource {
        let agent = self.test_env.agent(id);
        Resource::Agent { agent: agent.id().clone(), version: agent.hash() }
    }

    /// A permit for a request that a team's grant issues.
    async fn team_permit(&self, id: &str) -> Permitted<Invoke> {
        let request = self.team_grant().await.issue_request(RequestId::from_u128(10), Request::Invoke(invoke(id, "x")));
        match testing::permit_request(request, self.target(id)).await.unwrap().into_typed() {
            TypedPermit::Invoke(permit) => permit,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_agent_is_found_in_its_category_and_a_member_in_its_team() {
    let harness = harness().await;
    let outcome = harness
        .dispatcher
        .invoke(&harness.audit_entry, harness.test_env.permit(testing::admin(), invoke("member", "x")).await);
    assert_eq!(outcome.await.unwrap().outputs["summary"], "member");
    assert!(harness.host.calls().is_empty(), "a request without a team does not reach the teams");
    let outcome = harness.dispatcher.invoke(&harness.audit_entry, harness.team_permit("other").await).await.unwrap();
    assert_eq!(outcome.outputs["summary"], "other", "an agent that is not a member is invoked in its category");
    harness.dispatcher.invoke(&harness.audit_entry, harness.team_permit("member").await).await.unwrap();
    let [host] = harness.host.calls().try_into().unwrap();
    assert!(host.starts_with("member of run_"), "{host}");
}

#[tokio::test]
async fn each_other_verb_goes_where_it_belongs() {
    let harness = harness().await;
    let run = RunId::new("run_1").unwrap();
    let context =
        |key: Option<&str>| Resource::Context { run: run.clone(), key: key.map(|key| ContextKey::new(key).unwrap()) };
    let read = Request::ContextRead(ContextRead { run: run.clone(), keys: vec![] });
    let TypedPermit::ContextRead(permit) = harness.typed_permit(read, context(None)).await else {
        panic!("another verb")
    };
    harness.dispatcher.context_read(&harness.audit_entry, permit).await.unwrap();
    let write = Request::ContextWrite(ContextWrite {
        run: run.clone(),
        key: ContextKey::new("k").unwrap(),
        expect: None,
        change: ContextChange::Put(json!(1)),
        ttl_ms: None,
    });
    let TypedPermit::ContextWrite(permit) = harness.typed_permit(write, context(Some("k"))).await else {
        panic!("another")
    };
    harness.dispatcher.context_write(&harness.audit_entry, permit).await.unwrap();
    let run_resource = Resource::Run {
        run: run.clone(),
        root: run.clone(),
        workflow: WorkflowId::new("flow").unwrap(),
        version: ContentHash::from_content(b"flow"),
        team: None,
        tenant: TenantId::new("acme").unwrap(),
    };
    let resume = Request::ResumeRun(ResumeRun { run: run.clone(), dead: false });
    let TypedPermit::ResumeRun(permit) = harness.typed_permit(resume, run_resource).await else {
        panic!("another verb")
    };
    assert_eq!(harness.dispatcher.resume_run(&harness.audit_entry, permit).await.status, Status::Failed);
    assert_eq!(harness.host.calls(), ["read", "write", "resume run"]);
}

#[tokio::test]
async fn a_native_tool_is_called_by_one_name() {
    let harness = harness().await;
    let call_tool = async |tool: &str| {
        let arguments = Values::from([("a".to_owned(), json!(2)), ("b".to_owned(), json!(3))]);
        let call = Request::CallTool(CallTool { tool: tool.into(), arguments, key: None });
        let resource = Resource::Tool { tool: tool.into() };
        let TypedPermit::CallTool(permit) = harness.typed_permit(call, resource).await else { panic!("another verb") };
        harness.dispatcher.call_tool(&harness.audit_entry, permit).await.map_err(|failure| failure.cause.code)
    };
    assert_eq!(call_tool("native:adder").await.map(|outcome| outcome.outputs[TOOL_RESULT].clone()), Ok(json!(5)));
    assert_eq!(call_tool("native:divider").await.map(drop), Err(ErrorCode::UnknownTool));
    assert_eq!(call_tool("agent:adder").await.map(drop), Err(ErrorCode::UnknownTool));
}

#[tokio::test]
async fn a_native_tool_receives_the_key_of_its_call() {
    let harness = harness().await;
    for key in [Some("run_1/step/tool[0]"), None] {
        let (tool, call_key) = ("native:key_reader", key.map(|key| CallKey::new(key).unwrap()));
        let call = Request::CallTool(CallTool { tool: tool.into(), arguments: Values::new(), key: call_key });
        let TypedPermit::CallTool(permit) = harness.typed_permit(call, Resource::Tool { tool: tool.into() }).await
        else {
            panic!("another verb")
        };
        let effect_key = permit.grant().effect_key().to_string();
        let outcome = harness.dispatcher.call_tool(&harness.audit_entry, permit).await.unwrap();
        assert_eq!(outcome.outputs[TOOL_RESULT], json!(key.unwrap_or(&effect_key)));
    }
}

#[tokio::test]
async fn a_permit_invokes_only_the_version_that_it_names() {
    let harness = harness().await;
    let permit = harness.test_env.permit(testing::admin(), invoke("member", "x")).await;
    let other = harness.test_env.agent("other");
    let rejected = Invocation::from_permit(permit, other, None, Settlements::default()).map(drop).unwrap_err();
    assert_eq!(rejected.code, ErrorCode::Internal);
}
