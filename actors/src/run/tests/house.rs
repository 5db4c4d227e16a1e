//! A small house for the tests of runs and teams: real actors and stores in memory, a guard that says
//! yes, and agents that answer from a script.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use greenroom_definitions::catalogue::Parts as CatalogueParts;
use greenroom_definitions::{Agent, AgentSpec, Catalogue, Team, TeamSpec, Workflow, WorkflowSpec};
use greenroom_protocol::journal::Entry;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{Invoke, Options, Signal, SignalRun, StartRun, StartTeam};
use greenroom_protocol::{
    AgentId, Cause, Clock, Code, ContentHash, Credential, Envelope, IdempotencyKey, Ids, Json, Metadata,
    Outcome, PodId, Received, Reply, Request, RequestId, RunId, Status, TeamId, Timestamp, UserId, Values,
    WorkflowId,
};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::journal::Seq;
use greenroom_registry::{Parts as StoreParts, Stores, memory_artifacts, open_memory};
use greenroom_rego::{Authenticated, Authenticator, Identities, Narrowed, Principal, Target, testing};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use serde_json::json;

use crate::category::Manners;
use crate::door::{Door, Doorway};
use crate::execution::work::Assignment;
use crate::execution::{Backstage, ModelRoster, Props, Treasury};
use crate::failure::RetryBudgets;
use crate::handler::{Desk, File, Files, Handler, Manner, Work};
use crate::library::Library;
use crate::observe::{Observed, Observer};
use crate::run::{Hands, LEASE, Recovered, Runs, RunsActor};
use crate::stage::TeamsHere;
use crate::supervision::Exit;
use crate::team::{Teams, TeamsActor};

/// Follows tokio's clock, so that a paused test decides both.
pub(crate) struct TestClock(tokio::time::Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).plus(self.0.elapsed())
    }
}

/// Numbers that no other house of this process gets, as no other process would.
#[derive(Default)]
struct Counter;

static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl Ids for Counter {
    fn fresh(&self) -> u128 {
        u128::from(NUMBERS.fetch_add(1, Ordering::Relaxed))
    }
}

/// One call of an agent, as it came in at the door.
#[derive(Debug, Clone)]
pub(crate) struct Called {
    pub(crate) agent: String,
    pub(crate) inputs: Values,
    pub(crate) context: Values,
    pub(crate) key: String,
    pub(crate) request: RequestId,
    /// 1 for the first call with this key.
    pub(crate) time: usize,
}

/// What an agent answers.
pub(crate) type Script = Arc<dyn Fn(Called) -> BoxFuture<'static, Result<Values, Cause>> + Send + Sync>;

/// A script that answers at once.
pub(crate) fn at_once(answer: impl Fn(Called) -> Result<Values, Cause> + Send + Sync + 'static) -> Script {
    Arc::new(move |called| {
        let answer = answer(called);
        Box::pin(async move { answer })
    })
}

/// Every agent gives `out`: its own name.
pub(crate) fn names() -> Script {
    at_once(|called| Ok(values(json!({ "out": called.agent }))))
}

pub(crate) fn values(object: Json) -> Values {
    serde_json::from_value(object).unwrap()
}

/// The definitions of a house.
#[derive(Clone, Default)]
pub(crate) struct Written {
    pub(crate) agents: Vec<Json>,
    pub(crate) workflows: Vec<Json>,
    pub(crate) teams: Vec<Json>,
}

/// A native agent that takes anything named here and gives `out`.
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

struct Shelf {
    newest: Mutex<Arc<Catalogue>>,
    all: Vec<Arc<Catalogue>>,
}

#[async_trait]
impl Library for Shelf {
    fn catalogue(&self) -> Arc<Catalogue> {
        self.newest.lock().unwrap().clone()
    }
    async fn agent(&self, id: &AgentId, version: Option<&ContentHash>) -> Result<Arc<Agent>, Cause> {
        let fits = |agent: &&Arc<Agent>| version.is_none_or(|version| agent.hash() == *version);
        let found = self.all.iter().rev().filter_map(|catalogue| catalogue.agent(id)).find(fits);
        found.cloned().ok_or_else(|| Cause::new(Code::UnknownAgent, id.to_string()))
    }
    async fn workflow(&self, id: &WorkflowId, version: Option<&ContentHash>) -> Result<Arc<Workflow>, Cause> {
        let fits = |workflow: &&Arc<Workflow>| version.is_none_or(|version| workflow.hash() == *version);
        let found = self.all.iter().rev().filter_map(|catalogue| catalogue.workflow(id)).find(fits);
        found.cloned().ok_or_else(|| Cause::new(Code::UnknownWorkflow, id.to_string()))
    }
}

fn catalogue(files: &Written) -> Arc<Catalogue> {
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

/// Keeps what was observed.
#[derive(Default)]
pub(crate) struct Notes(Mutex<Vec<Observed>>);

impl Observer for Notes {
    fn saw(&self, what: Observed) {
        self.0.lock().unwrap().push(what);
    }
}

impl Notes {
    pub(crate) fn count(&self, fits: impl Fn(&Observed) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|each| fits(each)).count()
    }
}

/// One user, who can be sent away.
#[derive(Default)]
pub(crate) struct Users {
    pub(crate) gone: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Identities for Users {
    async fn verify(&self, _: &Credential, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(None)
    }
    async fn recall(&self, _: &UserId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok((!self.gone.load(Ordering::Relaxed)).then(testing::admin))
    }
}

/// The pipeline in small: a permit for everything, and then where it leads.
pub(crate) struct MiniDoor {
    runs: Mutex<Option<(Runs, Teams)>>,
    shelf: Arc<Shelf>,
    stores: Stores,
    script: Script,
    pub(crate) called: Mutex<Vec<Called>>,
    times: Mutex<HashMap<String, usize>>,
    /// Every request, by verb and speaker.
    pub(crate) asked: Mutex<Vec<String>>,
}

impl MiniDoor {
    async fn target(&self, request: &Request) -> Result<Target, Cause> {
        let catalogue = self.shelf.catalogue();
        let of_run = async |run: &RunId| -> Result<Target, Cause> {
            let head = self.stores.runs.get(run).await.map_err(|error| error.cause())?;
            let head = head.ok_or_else(|| Cause::new(Code::UnknownRun, run.to_string()))?;
            Ok(Target::Run { run: head.run, workflow: head.workflow, version: head.version, team: head.team })
        };
        Ok(match request {
            Request::Invoke(invoke) => {
                let agent = self.shelf.agent(&invoke.agent, invoke.version.as_ref()).await?;
                Target::Agent { agent: agent.id().clone(), version: agent.hash() }
            }
            Request::StartRun(start) => {
                let workflow = catalogue.expect_workflow(&start.workflow)?;
                Target::Workflow { workflow: workflow.id().clone(), version: workflow.hash() }
            }
            Request::StartTeam(start) => {
                let team = catalogue.expect_team(&start.team)?;
                Target::Team { team: team.id().clone(), version: team.hash() }
            }
            Request::SignalRun(signal) => of_run(&signal.run).await?,
            Request::ResumeRun(resume) => of_run(&resume.run).await?,
            Request::ContextRead(read) => Target::Context { run: read.run.clone(), key: None },
            Request::ContextWrite(write) => Target::Context { run: write.run.clone(), key: Some(write.key.clone()) },
            Request::CallTool(_) | Request::Look(_) => Target::Records { what: "nothing".into() },
        })
    }

    async fn answered(&self, asked: Authenticated) -> Result<Reply, Cause> {
        self.asked.lock().unwrap().push(format!("{} {}", asked.request().verb(), asked.speaker()));
        let (runs, teams) = self.runs.lock().unwrap().clone().unwrap();
        let (target, id) = (self.target(asked.request()).await?, asked.id().clone());
        let permit = testing::permit_asked(asked, target).await.map_err(Cause::from)?;
        let outcome = match permit.narrow() {
            Narrowed::StartRun(permit) => return Ok(runs.start(permit).await),
            Narrowed::ResumeRun(permit) => return Ok(runs.resume(permit).await),
            Narrowed::SignalRun(permit) => return Ok(runs.signal(permit).await),
            Narrowed::StartTeam(permit) => return Ok(TeamsHere::start(&teams, permit).await),
            Narrowed::ContextRead(permit) => teams.read(permit).await?,
            Narrowed::ContextWrite(permit) => teams.write(permit).await?,
            Narrowed::Invoke(permit) => {
                let called = self.note(permit.what(), &id);
                let run = permit.grant().run().cloned().unwrap();
                let agent = self.shelf.agent(&permit.what().agent, permit.grant().version()).await?;
                let name = agent.id().clone();
                let assignment = Assignment::redeem(permit, agent, None)?;
                match teams.invoke(&run, assignment).await {
                    Ok(done) => done.map_err(|failure| failure.cause)?,
                    Err(_) => Outcome {
                        outputs: (self.script)(called).await?,
                        usage: Usage { agents: vec![name], decisions: 1, ..Usage::default() },
                    },
                }
            }
            Narrowed::CallTool(_) | Narrowed::Look(_) => return Err(Cause::new(Code::Internal, "not here")),
        };
        Ok(reply(&id, outcome))
    }

    fn note(&self, invoke: &Invoke, request: &RequestId) -> Called {
        let key = invoke.key.as_ref().unwrap().to_string();
        let mut times = self.times.lock().unwrap();
        let time = times.entry(key.clone()).or_default();
        *time += 1;
        let called = Called {
            agent: invoke.agent.to_string(),
            inputs: invoke.inputs.clone(),
            context: invoke.context.clone(),
            key,
            request: request.clone(),
            time: *time,
        };
        self.called.lock().unwrap().push(called.clone());
        called
    }
}

fn reply(id: &RequestId, outcome: Outcome) -> Reply {
    let Outcome { outputs, usage } = outcome;
    let metadata = Metadata {
        agents: usage.agents,
        tokens_used: usage.tokens,
        cost_usd: usage.cost.as_usd(),
        policy_decisions: usage.decisions,
        ..Metadata::default()
    };
    Reply { id: id.to_string(), status: Status::Success, outputs, error: None, metadata }
}

#[async_trait]
impl Door for MiniDoor {
    async fn enter(&self, asked: Authenticated) -> Reply {
        let id = asked.id().clone();
        self.answered(asked).await.unwrap_or_else(|cause| super::super::effects::failed(&id, cause))
    }
}

/// What members of a team do: they answer from the same script.
struct TestHandler(Script);

#[async_trait]
impl Handler for TestHandler {
    fn name(&self) -> &'static str {
        "native.test"
    }
    fn manner(&self) -> Manner {
        Manner::Yields
    }
    async fn run(&self, work: &Work, _: &Desk) -> Result<Values, Cause> {
        let called = Called {
            agent: work.agent.id().to_string(),
            inputs: work.inputs.clone(),
            context: work.context.clone(),
            key: work.key.to_string(),
            request: RequestId::fresh(0),
            time: 0,
        };
        (self.0)(called).await
    }
}

struct NoFiles;

#[async_trait]
impl Files for NoFiles {
    async fn read(&self, _: &str, _: u64) -> Result<File, Cause> {
        Err(Cause::new(Code::PathNotAllowed, "there are no files here"))
    }
}

/// The root of a house.
struct Root;

enum Nothing {}

impl ractor::Message for Nothing {}

impl Actor for Root {
    type Msg = Nothing;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Nothing>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Nothing>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let _ = Exit::read(event);
        Ok(())
    }
}

/// A house: one process with its actors.
pub(crate) struct House {
    pub(crate) runs: Runs,
    pub(crate) teams: Teams,
    pub(crate) stores: Stores,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) notes: Arc<Notes>,
    pub(crate) door: Arc<MiniDoor>,
    pub(crate) users: Arc<Users>,
    root: ActorRef<Nothing>,
    ids: Arc<Counter>,
}

/// Stores that outlive a house.
pub(crate) fn stores() -> (Stores, Arc<dyn Clock>) {
    let clock: Arc<dyn Clock> = Arc::new(TestClock(tokio::time::Instant::now()));
    let (signer, artifacts) = (Signer::ephemeral([7; 32]), memory_artifacts());
    let opened = open_memory(StoreParts { clock: clock.clone(), signer, artifacts });
    (opened.stores, clock)
}

impl House {
    pub(crate) async fn new(files: Written, script: Script) -> Self {
        let (stores, clock) = stores();
        Self::open("pod_1", vec![files], script, stores, clock).await
    }

    /// A house over stores that are there already. The last of the definitions are the newest.
    pub(crate) async fn open(
        pod: &str,
        versions: Vec<Written>,
        script: Script,
        stores: Stores,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let all: Vec<Arc<Catalogue>> = versions.iter().map(catalogue).collect();
        let shelf = Arc::new(Shelf { newest: Mutex::new(all.last().unwrap().clone()), all });
        let (notes, doorway, ids) = (Arc::new(Notes::default()), Doorway::default(), Arc::new(Counter));
        let door = Arc::new(MiniDoor {
            runs: Mutex::default(),
            shelf: shelf.clone(),
            stores: stores.clone(),
            script: script.clone(),
            called: Mutex::default(),
            times: Mutex::default(),
            asked: Mutex::default(),
        });
        doorway.hang(door.clone()).unwrap();
        let (treasury, _) = Treasury::new(stores.ledger.clone(), clock.clone());
        let backstage = Backstage::new(Props {
            handlers: vec![Arc::new(TestHandler(script))],
            tools: Vec::new(),
            desk: Desk::new(Arc::new(NoFiles), stores.artifacts.clone()),
            models: ModelRoster::new(Vec::new()),
            treasury,
            doorway: doorway.clone(),
            library: shelf.clone(),
            observer: notes.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
        });
        let hands = Hands {
            door: doorway,
            library: shelf,
            stores: stores.clone(),
            clock: clock.clone(),
            observer: notes.clone(),
            budgets: Arc::new(RetryBudgets::default()),
            pod: PodId::new(pod).unwrap(),
            lease: LEASE,
        };
        let runs = Runs::new(hands);
        let teams = Teams::new(runs.clone(), backstage, Manners::default());
        *door.runs.lock().unwrap() = Some((runs.clone(), teams.clone()));
        let (root, _) = Actor::spawn(None, Root, ()).await.unwrap();
        RunsActor::spawn_under(runs.clone(), root.get_cell()).await.unwrap();
        TeamsActor::spawn_under(teams.clone(), root.get_cell()).await.unwrap();
        Self { runs, teams, stores, clock, notes, door, users: Arc::default(), root, ids }
    }

    /// The process dies, and another one comes up over the same stores.
    pub(crate) async fn crash(self, versions: Vec<Written>, script: Script) -> Self {
        self.root.kill();
        let root = self.root.clone();
        until("the process has died", || root.get_status() == ractor::ActorStatus::Stopped).await;
        tokio::time::advance(LEASE * 2).await;
        Self::open("pod_2", versions, script, self.stores, self.clock).await
    }

    pub(crate) fn authenticator(&self) -> Authenticator {
        Authenticator::new(self.users.clone())
    }

    pub(crate) async fn recover(&self) -> Recovered {
        self.runs.recover(&self.authenticator(), &*self.ids).await.unwrap()
    }

    /// Asks as the administrator.
    pub(crate) async fn ask(&self, request: Request) -> Reply {
        self.ask_once(request, None).await
    }

    pub(crate) async fn ask_once(&self, request: Request, key: Option<&str>) -> Reply {
        let key = key.map(|key| IdempotencyKey::new(key).unwrap());
        let envelope = Envelope { idempotency_key: key, ..Envelope::of(request) };
        let user = UserId::new("admin").unwrap();
        let received = Received::local(user, envelope, &*self.ids, self.clock.now()).unwrap();
        let asked = self.authenticator().verify(received).await.unwrap();
        self.door.enter(asked).await
    }

    pub(crate) async fn signal(&self, run: &RunId, signal: Signal) -> Reply {
        self.ask(Request::SignalRun(SignalRun { run: run.clone(), signal })).await
    }

    pub(crate) async fn entries(&self, run: &RunId) -> Vec<Entry> {
        let entries = self.stores.journal.read(run, Seq(0), 10_000).await.unwrap();
        entries.into_iter().map(|journalled| journalled.entry).collect()
    }

    pub(crate) fn calls(&self) -> Vec<Called> {
        self.door.called.lock().unwrap().clone()
    }

    /// How often the agent was called.
    pub(crate) fn calls_of(&self, agent: &str) -> usize {
        self.calls().iter().filter(|called| called.agent == agent).count()
    }

    /// The only run that there is.
    pub(crate) async fn only_run(&self) -> RunId {
        let page = self.stores.runs.list(&Default::default(), &Default::default()).await.unwrap();
        page.runs.first().unwrap().run.clone()
    }
}

pub(crate) fn run_of(workflow: &str, inputs: Json) -> StartRun {
    StartRun {
        workflow: WorkflowId::new(workflow).unwrap(),
        inputs: values(inputs),
        context: Values::new(),
        version: None,
        detach: false,
        key: None,
        options: Options::default(),
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
        team: TeamId::new(team).unwrap(),
        workflow: WorkflowId::new(workflow).unwrap(),
        inputs: values(inputs),
        context: values(context),
        detach: false,
        key: None,
        options: Options::default(),
    })
}

/// The run of a reply.
pub(crate) fn run_id(reply: &Reply) -> RunId {
    RunId::new(&reply.id).unwrap()
}

/// Waits until something is so, for a minute of the test's clock at most.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        let mut looks = tokio::time::interval(Duration::from_millis(1));
        while !is_so() {
            looks.tick().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok(), "never so: {what}");
}
