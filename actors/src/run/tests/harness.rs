//! The harness for tests of runs and teams: real actors, in-memory stores, a guard that permits everything, and
//! scripted agents.

mod definitions;
mod delayed_store;
mod handlers;
mod pipeline;
mod placed;
mod recorders;
mod rejecting_store;
mod shared_cluster;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use greenroom_definitions::Catalogue;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{Signal, SignalRun};
use greenroom_protocol::{
    BootTime, Cause, Clock, Credential, Envelope, ErrorCode, IdGenerator, IdempotencyKey, PodId, PrincipalId, Received,
    Reply, Request, RunId, TenantId, Timestamp, UserId,
};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::journal::Seq;
use greenroom_registry::{StoreParts, Stores, in_memory_artifacts, open_in_memory};
use greenroom_rego::{Authenticator, IdentityProvider, Principal, testing};
use ractor::ActorRef;

use crate::category::CategoryConfig;
use crate::dispatcher::{RunAdmission, RunTicket, RunVacancy};
use crate::execution::{Accounting, ExecutionEnv, ExecutionEnvParts, ModelRegistry, register_native};
use crate::failure::RetryBudgets;
use crate::handler::{File, FileReader, FileSources};
use crate::observer::{ActorEvent, Observer};
use crate::pipeline::{PipelineHandle, RequestPipeline};
use crate::run::{LEASE, PARK_DELAY, RecoveryReport, RunEnv, RunsHandle};
use crate::team::TeamsHandle;
use crate::test_env::{NoMsg, TestRoot};

use definitions::{FakeResolver, catalogue};
pub(crate) use definitions::{
    RecordedCall, Script, TestDefinitions, agent, detached, immediate, names, run_of, start, start_team, values,
    workflow,
};
pub(crate) use delayed_store::delayed;
use handlers::{TestHandler, WritingRuntime};
pub(crate) use pipeline::{FakePipeline, Gate};
pub(crate) use recorders::RecordedDeltas;
pub(crate) use rejecting_store::rejecting;
pub(crate) use shared_cluster::{ParkFault, SharedCluster};

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

/// Admits every run; a run that holds a ticket holds a clone.
struct TicketCounter(Arc<()>);

impl RunAdmission for TicketCounter {
    fn admit(&self, _: &TenantId) -> Result<RunTicket, Cause> {
        Ok(self.0.clone())
    }

    fn vacancy(&self) -> RunVacancy {
        RunVacancy { runs: usize::MAX, full_tenants: Vec::new() }
    }
}

/// Ids that are unique in this process.
#[derive(Default)]
struct Counter;

static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl IdGenerator for Counter {
    fn next_id(&self) -> u128 {
        u128::from(NUMBERS.fetch_add(1, Ordering::Relaxed))
    }
}

/// Records events.
#[derive(Default)]
pub(crate) struct RecordingObserver(Mutex<Vec<ActorEvent>>);

impl Observer for RecordingObserver {
    fn on_event(&self, event: ActorEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl RecordingObserver {
    pub(crate) fn count(&self, matches: impl Fn(&ActorEvent) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|each| matches(each)).count()
    }
}

/// One user, who can be removed, or moved to another tenant.
#[derive(Default)]
pub(crate) struct Users {
    pub(crate) removed: AtomicBool,
    pub(crate) moved: AtomicBool,
}

impl Users {
    fn user(&self) -> Option<Principal> {
        let mut user = testing::admin();
        if self.moved.load(Ordering::Relaxed) {
            user.id.tenant = TenantId::default();
        }
        (!self.removed.load(Ordering::Relaxed)).then_some(user)
    }
}

#[async_trait]
impl IdentityProvider for Users {
    async fn verify_credential(&self, _: &Credential, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(None)
    }
    async fn find_local_user(&self, _: &UserId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(self.user())
    }
    async fn find_user(&self, _: &PrincipalId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(self.user())
    }
}

struct NoFiles;

#[async_trait]
impl FileReader for NoFiles {
    async fn read(&self, _: &str, _: u64) -> Result<File, Cause> {
        Err(Cause::new(ErrorCode::PathNotAllowed, "there are no files here"))
    }
}

/// One pod with its actors.
pub(crate) struct Harness {
    pub(crate) runs: RunsHandle,
    pub(crate) teams: TeamsHandle,
    pub(crate) stores: Stores,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: Arc<RecordingObserver>,
    pub(crate) pipeline: Arc<FakePipeline>,
    pub(crate) users: Arc<Users>,
    pub(crate) deltas: Arc<RecordedDeltas>,
    root: ActorRef<NoMsg>,
    ids: Arc<Counter>,
    tickets: Arc<()>,
}

/// Stores that survive a harness.
pub(crate) fn stores() -> (Stores, Arc<dyn Clock>) {
    let clock: Arc<dyn Clock> = Arc::new(TestClock(tokio::time::Instant::now()));
    let (signer, artifacts) = (Signer::ephemeral([7; 32]), in_memory_artifacts());
    let pod = PodId::new("pod_1").unwrap();
    let opened = open_in_memory(StoreParts { clock: clock.clone(), signer, artifacts, pod });
    (opened.stores, clock)
}

impl Harness {
    pub(crate) async fn new(files: TestDefinitions, script: Script) -> Self {
        let (stores, clock) = stores();
        Self::open("pod_1", vec![files], script, stores, clock).await
    }

    /// A harness over existing stores. The last of the definitions are the newest.
    pub(crate) async fn open(
        pod: &str,
        versions: Vec<TestDefinitions>,
        script: Script,
        stores: Stores,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let all: Vec<Arc<Catalogue>> = versions.iter().map(catalogue).collect();
        let resolver = Arc::new(FakeResolver { newest: Mutex::new(all.last().unwrap().clone()), all });
        let (observer, pipeline, ids) =
            (Arc::new(RecordingObserver::default()), PipelineHandle::default(), Arc::new(Counter));
        let fake = FakePipeline::new(resolver.clone(), stores.clone(), clock.clone(), script.clone());
        let fake = Arc::new(fake);
        let shared: Arc<dyn RequestPipeline> = fake.clone();
        pipeline.bind(&shared).unwrap();
        let accounting = Accounting::new(&stores, clock.clone());
        let files = FileSources::new(Arc::new(NoFiles), stores.artifacts.clone(), stores.runs.clone());
        let writing = Arc::new(WritingRuntime(script.clone()));
        let (native, _) = register_native(vec![Arc::new(TestHandler(script))], Vec::new(), accounting.clone());
        let execution_env = ExecutionEnv::new(ExecutionEnvParts {
            runtimes: vec![Arc::new(native), writing],
            tool_sources: Vec::new(),
            files,
            models: ModelRegistry::new(Vec::new()),
            accounting,
            pipeline: pipeline.clone(),
            resolver: resolver.clone(),
            observer: observer.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
        });
        let (tickets, users) = (Arc::new(()), Arc::<Users>::default());
        let deltas = Arc::<RecordedDeltas>::default();
        let env = RunEnv {
            pipeline,
            resolver,
            stores: stores.clone(),
            clock: clock.clone(),
            observer: observer.clone(),
            budgets: Arc::new(RetryBudgets::default()),
            admission: Arc::new(TicketCounter(tickets.clone())),
            authenticator: Authenticator::new(users.clone()),
            ids: ids.clone(),
            pod: PodId::new(pod).unwrap(),
            lease: LEASE,
            park_delay: PARK_DELAY,
            creates_runs_unowned: true,
            step_deltas: Some(deltas.clone()),
        };
        let runs = RunsHandle::new(env);
        let teams = TeamsHandle::new(runs.clone(), execution_env, CategoryConfig::default());
        *fake.runs.lock().unwrap() = Some((runs.clone(), teams.clone()));
        let root = TestRoot::start().await;
        runs.start_supervisor(root.get_cell()).await.unwrap();
        teams.start_supervisor(root.get_cell()).await.unwrap();
        Self { runs, teams, stores, clock, events: observer, pipeline: fake, users, deltas, root, ids, tickets }
    }

    /// Simulates a crash: kills all actors and starts a new pod over the same stores.
    pub(crate) async fn crash(self, versions: Vec<TestDefinitions>, script: Script) -> Self {
        self.root.kill();
        let root = self.root.clone();
        until("the process has died", || root.get_status() == ractor::ActorStatus::Stopped).await;
        tokio::time::advance(LEASE * 2).await;
        Self::open("pod_2", versions, script, self.stores, self.clock).await
    }

    /// Kills the supervisor of the teams, and starts the next one as its supervisor would.
    pub(crate) async fn restart_team_supervisor(&self) {
        self.teams.kill_supervisor().await;
        self.teams.start_supervisor(self.root.get_cell()).await.unwrap();
    }

    /// Tickets that resumed runs hold.
    pub(crate) fn tickets(&self) -> usize {
        // The harness and its admission control have one clone each.
        Arc::strong_count(&self.tickets) - 2
    }

    pub(crate) fn authenticator(&self) -> Authenticator {
        Authenticator::new(self.users.clone())
    }

    pub(crate) async fn recover(&self) -> RecoveryReport {
        self.runs.recover(None).await.unwrap()
    }

    /// Sends a request as the administrator.
    pub(crate) async fn request(&self, request: Request) -> Reply {
        self.request_with_key(request, None).await
    }

    pub(crate) async fn request_with_key(&self, request: Request, key: Option<&str>) -> Reply {
        let key = key.map(|key| IdempotencyKey::new(key).unwrap());
        let envelope = Envelope { idempotency_key: key, ..Envelope::new(request) };
        let user = UserId::new("admin").unwrap();
        let received = Received::local(user, envelope, &*self.ids, self.clock.now()).unwrap();
        let request = self.authenticator().authenticate(received).await.unwrap();
        self.pipeline.handle(request).await
    }

    pub(crate) async fn signal(&self, run: &RunId, signal: Signal) -> Reply {
        self.request(Request::SignalRun(SignalRun { run: run.clone(), signal })).await
    }

    pub(crate) async fn entries(&self, run: &RunId) -> Vec<Entry> {
        let entries = self.stores.journal.read(run, Seq(0), 10_000).await.unwrap();
        entries.into_iter().map(|journalled| journalled.entry).collect()
    }

    pub(crate) fn calls(&self) -> Vec<RecordedCall> {
        self.pipeline.calls.lock().unwrap().clone()
    }
}

/// The run of a reply.
pub(crate) fn run_id(reply: &Reply) -> RunId {
    RunId::new(&reply.id).unwrap()
}

/// Waits until a condition is true, for at most a minute of the test's clock.
pub(crate) async fn until(condition: &str, is_true: impl Fn() -> bool) {
    let waiting = async {
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        while !is_true() {
            interval.tick().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok(), "not within 10 s: {condition}");
}

/// Waits until the journal of a run has this many matching entries, for at most a minute of the test's clock.
pub(crate) async fn until_entry(harness: &Harness, run: &RunId, count: usize, matches: impl Fn(&Entry) -> bool) {
    let waiting = async {
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        while harness.entries(run).await.iter().filter(|entry| matches(entry)).count() < count {
            interval.tick().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok(), "{:?}", harness.entries(run).await);
}
