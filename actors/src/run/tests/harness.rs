//! A small house for the tests of runs and teams: real actors and stores in memory, a guard that says
//! yes, and agents that answer from a script.

mod definitions;
mod pipeline;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use greenroom_definitions::Catalogue;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{Signal, SignalRun};
use greenroom_protocol::{
    Cause, Clock, Code, Credential, Envelope, IdempotencyKey, Ids, PodId, Received, Reply, Request, RequestId, RunId,
    Timestamp, UserId, Values,
};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::journal::Seq;
use greenroom_registry::{Parts as StoreParts, Stores, memory_artifacts, open_memory};
use greenroom_rego::{Authenticator, Identities, Principal, testing};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::category::Manners;
use crate::execution::{Backstage, ModelRoster, Props, Treasury};
use crate::failure::RetryBudgets;
use crate::handler::{Desk, File, Files, Handler, Manner, Work};
use crate::observer::{Observed, Observer};
use crate::pipeline::{Door, Doorway};
use crate::run::{Hands, LEASE, Recovered, Runs, RunsActor};
use crate::supervision::Exit;
use crate::team::{Teams, TeamsActor};

pub(crate) use definitions::{
    Called, Script, Written, agent, at_once, detached, names, run_of, start, start_team, values, workflow,
};
use definitions::{Shelf, catalogue};
pub(crate) use pipeline::MiniDoor;

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
    pub(crate) gone: AtomicBool,
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
            outer_is_late: AtomicBool::default(),
            loses_openings: AtomicBool::default(),
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
