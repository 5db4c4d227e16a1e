//! The test environment of this crate: a clock, a catalogue of a few agents, a scripted model, a recording pipeline,
//! and permits from a guard that permits everything.

mod root;
mod tools;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use greenroom_definitions::catalogue::CatalogueParts;
use greenroom_definitions::{Agent, AgentSpec, Catalogue, Models, Team, Workflow};
use greenroom_protocol::request::Invoke;
use greenroom_protocol::{
    AgentId, ArtifactRef, BootTime, Cause, Clock, ContentHash, ErrorCode, IdGenerator, Json, PodId, Reply, Request,
    TeamId, Timestamp, Tokens, Values, WorkflowId,
};
use greenroom_registry::artifacts::ArtifactOwner;
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::ledger::Ledger;
use greenroom_registry::{StoreParts, Stores, in_memory_artifacts, open_in_memory};
use greenroom_rego::{Authenticated, Permitted, Principal, Resource, TypedPermit, testing};
use serde_json::json;

use crate::agent::ExecutionFailure;
use crate::definition_resolver::DefinitionResolver;
use crate::execution::invocation::Invocation;
use crate::execution::{
    Accounting, AgentTools, DeltaSink, ExecutionEnv, ExecutionEnvParts, LlmRuntime, ModelRegistry, register_native,
};
use crate::handler::{File, FileAccess, FileReader, FileSources, Handler, HandlerInput, HandlerMode};
use crate::model::{Delta, Deltas, Message, ModelCall, ModelError, ModelProvider, StopReason, ToolSpec};
use crate::observer::{ActorEvent, Observer};
use crate::pipeline::{CallScope, PipelineHandle, RequestPipeline, Settlements};
pub(crate) use root::{NoMsg, TestRoot};
use tools::{Adder, ArtifactReader, KeyReader, PanickingTool};

/// Follows tokio's clock, so that a paused test decides both.
pub(crate) struct TestClock(tokio::time::Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).saturating_add(self.0.elapsed())
    }

    fn boot_time(&self) -> BootTime {
        BootTime::from_duration(self.0.elapsed())
    }
}

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl IdGenerator for Counter {
    fn next_id(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed) + 1_000)
    }
}

/// One recorded call of a model.
#[derive(Debug, Clone)]
pub(crate) struct RecordedCall {
    pub(crate) model: String,
    pub(crate) system: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<ToolSpec>,
    pub(crate) tokens_max: u32,
    pub(crate) key: String,
    pub(crate) worst: Tokens,
}

/// The behaviour of the model at one call.
pub(crate) enum ScriptedAnswer {
    /// Returns these deltas.
    Deltas(Vec<Result<Delta, ModelError>>),
    /// Returns an error.
    Fail(ModelError),
    /// Never returns a delta.
    Hang,
}

/// A model with one scripted answer per call.
pub(crate) struct ScriptedModel {
    name: &'static str,
    external: bool,
    answers: Mutex<VecDeque<ScriptedAnswer>>,
    calls: Mutex<Vec<RecordedCall>>,
}

impl ScriptedModel {
    pub(crate) fn new(name: &'static str, external: bool, answers: Vec<ScriptedAnswer>) -> Arc<Self> {
        Arc::new(Self { name, external, answers: Mutex::new(answers.into()), calls: Mutex::default() })
    }

    pub(crate) fn calls(&self) -> Vec<RecordedCall> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl ModelProvider for ScriptedModel {
    fn name(&self) -> &str {
        self.name
    }

    fn is_external(&self) -> bool {
        self.external
    }

    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError> {
        self.calls.lock().unwrap().push(RecordedCall {
            model: call.model.to_string(),
            system: call.system.to_owned(),
            messages: call.messages.to_vec(),
            tools: call.tools.to_vec(),
            tokens_max: call.tokens_max,
            key: call.key.to_string(),
            worst: call.reservation.upper_bound().tokens,
        });
        let answer = self.answers.lock().unwrap().pop_front();
        match answer {
            Some(ScriptedAnswer::Deltas(deltas)) => Ok(stream::iter(deltas).boxed()),
            Some(ScriptedAnswer::Fail(error)) => Err(error),
            Some(ScriptedAnswer::Hang) | None => Ok(stream::pending().boxed()),
        }
    }
}

/// An answer of one text, with its usage.
pub(crate) fn text_answer(text: &str, input: u64, output: u64) -> ScriptedAnswer {
    ScriptedAnswer::Deltas(vec![
        Ok(Delta::Text(text.to_owned())),
        Ok(Delta::Usage(Tokens { input, output }.into())),
        Ok(Delta::End(StopReason::Complete)),
    ])
}

/// A handler that calls a function.
pub(crate) struct FnHandler<F>(pub(crate) &'static str, pub(crate) HandlerMode, pub(crate) F);

#[async_trait]
impl<F, R> Handler for FnHandler<F>
where
    F: Fn(HandlerInput) -> R + Send + Sync,
    R: Future<Output = Result<Values, Cause>> + Send,
{
    fn name(&self) -> &'static str {
        self.0
    }
    fn mode(&self) -> HandlerMode {
        self.1
    }
    async fn run(&self, work: &HandlerInput, _: &FileAccess) -> Result<Values, Cause> {
        (self.2)(work.clone()).await
    }
}

struct NoFiles;

#[async_trait]
impl FileReader for NoFiles {
    async fn read(&self, _: &str, _: u64) -> Result<File, Cause> {
        Err(Cause::new(ErrorCode::PathNotAllowed, "there are no files here"))
    }
}

struct OneCatalogue(Arc<Catalogue>);

#[async_trait]
impl DefinitionResolver for OneCatalogue {
    fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.0)
    }
    async fn agent(&self, id: &AgentId, _: Option<&ContentHash>) -> Result<Arc<Agent>, Cause> {
        self.0.require_agent(id).cloned()
    }
    async fn workflow(&self, id: &WorkflowId, _: Option<&ContentHash>) -> Result<Arc<Workflow>, Cause> {
        self.0.require_workflow(id).cloned()
    }
    async fn team(&self, id: &TeamId, _: Option<&ContentHash>) -> Result<Arc<Team>, Cause> {
        self.0.require_team(id).cloned()
    }
}

/// Records events.
#[derive(Default)]
pub(crate) struct RecordingObserver(Mutex<Vec<ActorEvent>>);

impl Observer for RecordingObserver {
    fn on_event(&self, value: ActorEvent) {
        self.0.lock().unwrap().push(value);
    }
}

impl RecordingObserver {
    pub(crate) fn count(&self, matches: impl Fn(&ActorEvent) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|each| matches(each)).count()
    }
}

/// A pipeline that returns scripted replies and records requests.
pub(crate) struct RecordingPipeline {
    pub(crate) replies: Mutex<VecDeque<Reply>>,
    pub(crate) requests: Mutex<Vec<(String, Request)>>,
    /// Where requests wait for each other, if the test has one.
    pub(crate) barrier: Option<tokio::sync::Barrier>,
}

#[async_trait]
impl RequestPipeline for RecordingPipeline {
    async fn handle_within(&self, request: Authenticated, _: CallScope) -> Reply {
        self.requests.lock().unwrap().push((request.caller().to_string(), request.request().clone()));
        let reply = self.replies.lock().unwrap().pop_front();
        if let Some(barrier) = &self.barrier {
            barrier.wait().await;
        }
        reply.unwrap_or_else(|| {
            ExecutionFailure::from(Cause::new(ErrorCode::PolicyDenied, "not you")).into_reply("r".into())
        })
    }
}

/// An execution environment, and the parts that tests inspect.
pub(crate) struct TestEnv {
    pub(crate) env: Arc<ExecutionEnv>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: Arc<RecordingObserver>,
    pub(crate) pipeline: Arc<RecordingPipeline>,
    pub(crate) stores: Stores,
}

/// Options of a test environment.
#[derive(Default)]
pub(crate) struct TestEnvOptions {
    pub(crate) agents: Vec<Json>,
    pub(crate) models: Json,
    pub(crate) providers: Vec<Arc<dyn ModelProvider>>,
    pub(crate) handlers: Vec<Arc<dyn Handler>>,
    pub(crate) replies: Vec<Reply>,
    /// Requests of which none gets its reply before all of them are there; 0 for none.
    pub(crate) concurrent_requests: usize,
}

/// An agent of the category `ops`, with these members over the usual ones.
pub(crate) fn agent(id: &str, members: Json) -> Json {
    let mut spec = json!({
        "agent_id": id, "name": id, "category": "ops", "description": "does things", "version": "1",
        "inputs": [{"name": "document", "type": "text"}],
        "outputs": [{"name": "summary", "type": "text", "required": true}],
        "implementation": {"runtime": "llm", "model": "play.one", "timeout": 30},
    });
    let all = spec.as_object_mut().unwrap();
    all.extend(members.as_object().cloned().unwrap_or_default());
    spec
}

/// A native agent with this handler.
pub(crate) fn native(id: &str, handler: &str) -> Json {
    agent(id, json!({"implementation": {"runtime": "native", "handler": handler, "timeout": 30}}))
}

/// Two models at one and two dollars a token's millionth, and one without a price.
pub(crate) fn prices() -> Json {
    json!({
        "tiers": {"standard": {"model": "play.one", "fallback": ["other.two"]}},
        "models": {
            "play.one": {"context_tokens": 1000, "price": {"input": 1.0, "output": 2.0}, "fallback": ["other.two"]},
            "other.two": {"context_tokens": 1000, "price": {"input": 1.0, "output": 2.0}},
            "free.of_price": {"context_tokens": 1000},
        },
    })
}

impl TestEnv {
    pub(crate) fn new(options: TestEnvOptions) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TestClock(tokio::time::Instant::now()));
        let artifacts = in_memory_artifacts();
        let parts = StoreParts {
            clock: Arc::clone(&clock),
            signer: Signer::ephemeral([7; 32]),
            artifacts: Arc::clone(&artifacts),
            pod: PodId::new("pod_1").unwrap(),
        };
        let stores = open_in_memory(parts).stores;
        let specs = options.agents.into_iter().map(|spec| serde_json::from_value::<AgentSpec>(spec).unwrap());
        let models: Models =
            serde_json::from_value(if options.models.is_null() { prices() } else { options.models }).unwrap();
        let catalogue = Arc::new(Catalogue::new(CatalogueParts {
            agents: specs.map(|spec| Agent::new(spec).unwrap()).collect(),
            models,
            ..CatalogueParts::default()
        }));
        let accounting = Accounting::new(&stores, Arc::clone(&clock));
        let barrier = (options.concurrent_requests > 0).then(|| tokio::sync::Barrier::new(options.concurrent_requests));
        let recording = Arc::new(RecordingPipeline {
            replies: Mutex::new(options.replies.into()),
            requests: Mutex::default(),
            barrier,
        });
        let pipeline = PipelineHandle::default();
        let shared: Arc<dyn RequestPipeline> = recording.clone();
        assert!(pipeline.bind(&shared).is_ok());
        let events = Arc::new(RecordingObserver::default());
        let files = FileSources::new(Arc::new(NoFiles), artifacts, Arc::clone(&stores.runs));
        let (runtime, tools) = register_native(
            options.handlers,
            vec![Arc::new(Adder), Arc::new(KeyReader), Arc::new(PanickingTool), Arc::new(ArtifactReader)],
            accounting.clone(),
        );
        let env = ExecutionEnv::new(ExecutionEnvParts {
            runtimes: vec![Arc::new(runtime), Arc::new(LlmRuntime)],
            tool_sources: vec![Arc::new(AgentTools), Arc::new(tools)],
            files,
            models: ModelRegistry::new(options.providers),
            accounting,
            pipeline,
            resolver: Arc::new(OneCatalogue(Arc::clone(&catalogue))),
            observer: events.clone(),
            clock: Arc::clone(&clock),
            ids: Arc::new(Counter::default()),
        });
        let ledger = Arc::clone(&stores.ledger);
        Self { env, catalogue, ledger, clock, events, pipeline: recording, stores }
    }

    pub(crate) fn agent(&self, id: &str) -> Arc<Agent> {
        Arc::clone(self.catalogue.agent(&AgentId::new(id).unwrap()).unwrap())
    }

    /// Stores an artifact of the administrator's tenant.
    pub(crate) async fn put_artifact(&self, bytes: &[u8], media_type: &str, name: &str) -> ArtifactRef {
        let owner = ArtifactOwner { tenant: testing::admin().id.tenant, personal_data: false };
        self.stores.artifacts.put(&owner, bytes.to_vec(), media_type, name).await.unwrap()
    }

    /// A permit of this user to invoke the agent.
    pub(crate) async fn permit(&self, principal: Principal, invoke: Invoke) -> Permitted<Invoke> {
        let agent = self.agent(invoke.agent.as_str());
        let resource = Resource::Agent { agent: agent.id().clone(), version: agent.hash() };
        let id = Counter::default().next_id() + u128::from(REQUESTS.fetch_add(1, Ordering::Relaxed));
        let request = testing::user_request(principal, id, Request::Invoke(invoke), self.clock.now());
        match testing::permit_request(request, resource).await.unwrap().into_typed() {
            TypedPermit::Invoke(permit) => permit,
            other => panic!("{other:?}"),
        }
    }

    /// An invocation by the administrator.
    pub(crate) async fn invocation(&self, id: &str, document: &str) -> Box<Invocation> {
        self.invocation_for(testing::admin(), invoke(id, document), None).await
    }

    pub(crate) async fn invocation_for(
        &self,
        principal: Principal,
        invoke: Invoke,
        sink: Option<DeltaSink>,
    ) -> Box<Invocation> {
        let agent = self.agent(invoke.agent.as_str());
        Invocation::from_permit(self.permit(principal, invoke).await, agent, sink, Settlements::default()).unwrap()
    }
}

static REQUESTS: AtomicU64 = AtomicU64::new(1);

/// A request to this agent over one document.
pub(crate) fn invoke(id: &str, document: &str) -> Invoke {
    Invoke {
        agent: AgentId::new(id).unwrap(),
        inputs: Values::from([("document".to_owned(), json!(document))]),
        context: Values::new(),
        version: None,
        key: None,
        options: greenroom_protocol::request::CallOptions::default(),
        approvals: None,
    }
}

/// Waits until a condition is true, for at most ten seconds.
pub(crate) async fn until(condition: &str, is_true: impl Fn() -> bool) {
    let waiting = async {
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        while !is_true() {
            interval.tick().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok(), "not within 10 s: {condition}");
}
