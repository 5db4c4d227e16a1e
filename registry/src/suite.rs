//! One suite for every implementation: the contract of each store, in memory, in SQLite files and in PostgreSQL.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use greenroom_protocol as protocol;
use protocol::audit::{Closing, Opening};
use protocol::journal::{Entry, InnerVersions, ResultRef, RunStarted, StepKey};
use protocol::request::CallOptions;
use protocol::{
    BootTime, CallKey, Clock, ContentHash, Deadline, Issuer, Metadata, MicroUsd, PodId, PrincipalId, Reply, RequestId,
    RunId, SpendingLimits, Status, StepId, TenantId, Timestamp, Tokens, TraceId, UserId, Values, WorkflowId,
    WrittenVersion,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::audit::signer::Signer;
use crate::cluster::JOURNAL_VERSION_MIN;
use crate::core::KeyClaim;
use crate::idempotency::{KeyStatus, ReservedKey};
use crate::journal::{AppendPosition, JournalError, Receipt, Seq};
use crate::ledger::{Account, Amount, Limit, Reservation, ReservationRequest, ReserveError, Settlement};
use crate::runs::{Created, DedupKey, Fence, NewRun};
use crate::{OpenedStores, StoreError, StoreParts, Stores, SyncMode, in_memory_artifacts, open_in_memory, open_sqlite};

mod agent_memory;
pub(crate) mod artifacts;
mod audit;
pub(crate) mod call_proxy;
mod context;
mod credentials;
mod definitions;
pub(crate) mod fault_proxy;
mod generations;
mod idempotency;
mod ids;
mod ledger;
pub(crate) mod postgres;
mod rate_windows;
mod runs;
mod trees;
mod units;

/// A clock that always returns the same time; a test passes other times to the calls. The time of the machine passes.
#[derive(Debug)]
pub(crate) struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn boot_time(&self) -> BootTime {
        static STARTED: OnceLock<Instant> = OnceLock::new();
        BootTime::from_duration(STARTED.get_or_init(Instant::now).elapsed())
    }
}

/// The same, of a machine that a test suspends: the time passes at once.
#[derive(Debug, Default)]
pub(crate) struct SuspendedClock(AtomicU64);

impl SuspendedClock {
    /// Suspends the machine for this long.
    pub(crate) fn suspend(&self, time: Duration) {
        self.0.fetch_add(time.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for SuspendedClock {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn boot_time(&self) -> BootTime {
        FixedClock.boot_time().saturating_add(Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }
}

fn fixed_clock() -> Arc<dyn Clock> {
    Arc::new(FixedClock)
}

/// The id of another start of the pod.
pub(crate) fn next_pod() -> PodId {
    static STARTS: AtomicU64 = AtomicU64::new(1);
    PodId::for_start(&pod(), STARTS.fetch_add(1, Ordering::Relaxed).into())
}

/// A time in 2023.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Stores with their tasks.
pub(crate) struct TestStores {
    pub(crate) stores: Stores,
    /// The pod that has opened them.
    pub(crate) pod: PodId,
    dir: Option<TempDir>,
    /// The database of PostgreSQL, which is dropped after the stores.
    postgres: Option<postgres::TestDatabase>,
    /// The proxy between the stores and that database, if there is one.
    _proxy: Option<call_proxy::CallProxy>,
    tasks: JoinSet<Result<(), StoreError>>,
}

impl TestStores {
    /// New stores of each implementation.
    pub(crate) async fn each() -> Vec<Self> {
        let faulty = Self::postgres_with_faults().await;
        vec![Self::in_memory(), Self::sqlite().await, Self::postgres().await, faulty]
    }

    /// New stores in memory.
    pub(crate) fn in_memory() -> Self {
        let (clock, signer, artifacts) = (fixed_clock(), Signer::ephemeral([7; 32]), in_memory_artifacts());
        let opened = open_in_memory(StoreParts { clock, signer, artifacts, pod: pod() });
        Self::run(opened, pod(), None)
    }

    /// A new database in a directory of its own.
    pub(crate) async fn sqlite() -> Self {
        Self::open(tempfile::tempdir().unwrap()).await.unwrap()
    }

    /// Opens the database in a directory.
    pub(crate) async fn open(dir: TempDir) -> Result<Self, StoreError> {
        Self::open_with(dir, SyncMode::Full).await
    }

    /// Opens the database in a directory with this sync mode.
    pub(crate) async fn open_with(dir: TempDir, sync_mode: SyncMode) -> Result<Self, StoreError> {
        Self::open_as(dir, sync_mode, next_pod(), fixed_clock()).await
    }

    /// Opens the database in a directory as this pod, with this clock.
    pub(crate) async fn open_as(
        dir: TempDir,
        sync_mode: SyncMode,
        pod: PodId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let signer = Signer::open(&dir.path().join("audit.key"), || Ok([7; 32]))?;
        let parts = StoreParts { clock, signer, artifacts: in_memory_artifacts(), pod: pod.clone() };
        let opened = open_sqlite(&dir.path().join("greenroom.db"), sync_mode, parts).await?;
        Ok(Self::run(opened, pod, Some(dir)))
    }

    fn run(opened: OpenedStores, pod: PodId, dir: Option<TempDir>) -> Self {
        let mut tasks = JoinSet::new();
        for task in opened.tasks {
            tasks.spawn(task.run);
        }
        Self { stores: opened.stores, pod, dir, postgres: None, _proxy: None, tasks }
    }

    /// The path of the database.
    pub(crate) fn database(&self) -> PathBuf {
        self.dir.as_ref().unwrap().path().join("greenroom.db")
    }

    /// Creates a run and returns the fence of its owner.
    pub(crate) async fn create_run(&self, number: u128) -> Fence {
        match self.create(&new_run(number), None).await.unwrap() {
            Created::New(fence) => fence,
            other => panic!("the run is not new: {other:?}"),
        }
    }

    /// Creates a run without entries.
    pub(crate) async fn create(&self, new: &NewRun, key: Option<&DedupKey>) -> Result<Created, JournalError> {
        Ok(self.stores.core.create_run(new.clone(), key, &[], NOW).await?.0)
    }

    /// Appends entries to a journal.
    pub(crate) async fn append(
        &self,
        run: &RunId,
        fence: Fence,
        after: Seq,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<Receipt, JournalError> {
        self.stores.core.append(AppendPosition { run, fence, after }, entries, now).await
    }

    /// Reserves the worst case of a call.
    pub(crate) async fn reserve(
        &self,
        account: &Account,
        limits: &[Limit],
        upper_bound: Amount,
        key: &CallKey,
        now: Timestamp,
    ) -> Result<Reservation, ReserveError> {
        self.stores.core.reserve(ReservationRequest { account, limits, upper_bound, key }, now).await
    }

    /// Reserves the worst case of a call, which waits for the reservations of others for at most `wait_max`.
    pub(crate) async fn reserve_or_wait(
        &self,
        request: ReservationRequest<'_>,
        wait_max: Duration,
        now: Timestamp,
    ) -> Result<Reservation, ReserveError> {
        let Stores { core, ledger, .. } = &self.stores;
        core.reserve_or_wait(request, Vec::new(), &**ledger, wait_max, now).await
    }

    /// Settles a reservation, and returns the amount that was charged.
    pub(crate) async fn settle(&self, reservation: Reservation, settlement: Settlement, now: Timestamp) -> Amount {
        let settled = self.stores.ledger.settle(reservation, settlement, now);
        let amount = settled.amount();
        self.stores.core.write_settlement(settled, now).await.unwrap();
        amount
    }

    /// Reserves an idempotency key for a request; its status is `New` if it was reserved.
    pub(crate) async fn begin(
        &self,
        tenant: &TenantId,
        key: &DedupKey,
        request_hash: &ContentHash,
    ) -> (KeyStatus, Option<ReservedKey>) {
        match self.stores.core.begin_key(tenant, key, request_hash, NOW).await.unwrap() {
            KeyClaim::Reserved(reserved) => (KeyStatus::New, Some(reserved)),
            KeyClaim::Used(status) => (status, None),
        }
    }

    /// Aborts the tasks as a crash does, and returns the directory.
    pub(crate) async fn crash(mut self) -> TempDir {
        self.tasks.shutdown().await;
        self.dir.unwrap()
    }

    /// Closes the stores, and returns the directory.
    pub(crate) async fn close(self) -> TempDir {
        self.close_at(NOW).await
    }

    /// Closes the stores at this time, and returns the directory.
    pub(crate) async fn close_at(mut self, now: Timestamp) -> TempDir {
        self.stores.maintenance.close(now).await.unwrap();
        while let Some(result) = self.tasks.join_next().await {
            result.unwrap().unwrap();
        }
        self.dir.unwrap()
    }

    /// Crashes, and opens the database again.
    pub(crate) async fn crash_and_reopen(self) -> Self {
        Self::open(self.crash().await).await.unwrap()
    }
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(crate) fn run_id(number: u128) -> RunId {
    RunId::for_request(&RequestId::from_u128(number))
}

pub(crate) fn pod() -> PodId {
    PodId::new("pod_1").unwrap()
}

/// A configured user of the tenant `acme`.
pub(crate) fn principal(user: &str) -> PrincipalId {
    PrincipalId::local(tenant("acme"), UserId::new(user).unwrap())
}

/// As [`new_run`], of a user of this tenant.
pub(crate) fn new_run_of(name: &str, number: u128) -> NewRun {
    let new = new_run(number);
    let owner = PrincipalId { tenant: tenant(name), ..new.started.owner.clone() };
    NewRun { started: Arc::new(RunStarted { owner, ..new.started.as_ref().clone() }), ..new }
}

/// A run of the tenant `acme`.
pub(crate) fn new_run(number: u128) -> NewRun {
    let started = RunStarted {
        run: run_id(number),
        workflow: WorkflowId::new("report").unwrap(),
        version: ContentHash::from_content(b"workflow"),
        agents: BTreeMap::new(),
        inner: InnerVersions::default(),
        team: None,
        team_run: None,
        parent: None,
        root: run_id(number),
        owner: principal("alice"),
        inputs: ResultRef::Inline(Values::new()),
        context: ResultRef::Inline(Values::new()),
        options: CallOptions::default(),
        limits: SpendingLimits::default(),
        deadline: Deadline::after(NOW, MINUTE),
        request_deadline: None,
        steps: 1,
        retry_budget: 0,
        members: Vec::new(),
        checks: Vec::new(),
        policies: None,
        trace: None,
    };
    NewRun {
        started: Arc::new(started),
        request_hash: ContentHash::from_content(b"body"),
        personal_data: false,
        tree_fence: None,
        is_unowned: false,
        journal_version: JOURNAL_VERSION_MIN,
        pod: pod(),
        lease: MINUTE,
    }
}

/// An entry: the start of a step.
pub(crate) fn started(step: &str) -> Entry {
    Entry::StepStarted { key: step_key(step), attempt: 1, agent: None }
}

/// An entry: the result of a step.
pub(crate) fn done(step: &str, value: &str) -> Entry {
    let outputs = Values::from([("text".to_owned(), value.into())]);
    Entry::StepDone {
        key: step_key(step),
        attempt: 1,
        result: ResultRef::Inline(outputs),
        hash: ContentHash::from_content(value.as_bytes()),
        usage: protocol::reply::Usage::default(),
        duration_ms: 1,
    }
}

/// An entry: the successful end of a run.
pub(crate) fn ended() -> Entry {
    Entry::RunEnded { reply: Box::new(reply("run_1")) }
}

pub(crate) fn reply(id: &str) -> Reply {
    Reply {
        id: id.to_owned(),
        status: Status::Success,
        outputs: Values::from([("answer".to_owned(), 42.into())]),
        error: None,
        metadata: Metadata::default(),
        protocol_version: WrittenVersion::OWN,
    }
}

fn step_key(step: &str) -> StepKey {
    StepKey { step: StepId::new(step).unwrap(), index: None }
}

pub(crate) fn opening(number: u128) -> Opening {
    Opening {
        request: RequestId::from_u128(number),
        trace: TraceId::from_u128(number),
        pod: pod(),
        issuer: Issuer::default(),
        tenant: tenant("acme"),
        user: UserId::new("alice").unwrap(),
        caller: "user:alice".into(),
        action: "invoke".into(),
        resource: "task".into(),
        run: None,
    }
}

pub(crate) fn closing() -> Closing {
    Closing {
        status: Status::Success,
        code: None,
        checks: vec!["access_allowed".into()],
        policy_revision: None,
        version: None,
        elapsed_us: 5,
        tokens: Tokens::default(),
        cost: MicroUsd(0),
    }
}
