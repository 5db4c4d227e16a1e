//! One suite for every implementation: what each store promises, in memory and in SQLite files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol as protocol;
use protocol::audit::{Closing, Opening};
use protocol::journal::{Entry, ResultRef, StepKey};
use protocol::{
    Clock, ContentHash, Metadata, MicroUsd, PodId, Reply, RequestId, RunId, Status, StepId, TenantId, Timestamp,
    Tokens, TraceId, UserId, Values, WorkflowId,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::audit::signer::Signer;
use crate::runs::{Created, Fence, NewRun};
use crate::{OpenedStores, StoreError, StoreParts, Stores, SyncMode, in_memory_artifacts, open_in_memory, open_sqlite};

mod agent_memory;
mod artifacts;
mod audit;
mod context;
mod idempotency;
mod ledger;
mod runs;

/// A clock that stands still; what moves is handed in by each call.
#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn fixed_clock() -> Arc<dyn Clock> {
    Arc::new(FixedClock)
}

/// A moment in 2023.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Stores with what runs beside them.
pub(crate) struct TestStores {
    pub(crate) stores: Stores,
    folder: Option<TempDir>,
    writers: JoinSet<Result<(), StoreError>>,
}

impl TestStores {
    /// One house of each kind, new.
    pub(crate) async fn each() -> Vec<Self> {
        vec![Self::in_memory(), Self::sqlite().await]
    }

    fn in_memory() -> Self {
        let signer = Signer::ephemeral([7; 32]);
        let opened = open_in_memory(StoreParts { clock: fixed_clock(), signer, artifacts: in_memory_artifacts() });
        Self::run(opened, None)
    }

    /// A new database in a folder of its own.
    pub(crate) async fn sqlite() -> Self {
        Self::open(tempfile::tempdir().unwrap()).await.unwrap()
    }

    /// Opens what lies in a folder.
    pub(crate) async fn open(folder: TempDir) -> Result<Self, StoreError> {
        Self::open_as(folder, SyncMode::Full).await
    }

    /// The same with another promise for power cuts.
    pub(crate) async fn open_as(folder: TempDir, synchronous: SyncMode) -> Result<Self, StoreError> {
        let signer = Signer::open(&folder.path().join("audit.key"), || Ok([7; 32]))?;
        let parts = StoreParts { clock: fixed_clock(), signer, artifacts: in_memory_artifacts() };
        let opened = open_sqlite(&folder.path().join("greenroom.db"), synchronous, parts).await?;
        Ok(Self::run(opened, Some(folder)))
    }

    fn run(opened: OpenedStores, folder: Option<TempDir>) -> Self {
        let mut writers = JoinSet::new();
        for writer in opened.tasks {
            writers.spawn(writer.run);
        }
        Self { stores: opened.stores, folder, writers }
    }

    /// Where the database lies.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.as_ref().unwrap().path().join("greenroom.db")
    }

    /// A new run, and the fence of its owner.
    pub(crate) async fn create_run(&self, number: u128) -> Fence {
        match self.stores.runs.create(&new_run(number), None, NOW).await.unwrap() {
            Created::New(fence) => fence,
            other => panic!("the run is not new: {other:?}"),
        }
    }

    /// Ends the process in the middle of everything, and leaves its folder.
    pub(crate) async fn crash(mut self) -> TempDir {
        self.writers.shutdown().await;
        self.folder.unwrap()
    }

    /// Ends the process in good order, and leaves its folder.
    pub(crate) async fn close(mut self) -> TempDir {
        self.stores.maintenance.close(NOW).await.unwrap();
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap().unwrap();
        }
        self.folder.unwrap()
    }

    /// A crash, and the next start.
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

/// A run of the tenant `acme`.
pub(crate) fn new_run(number: u128) -> NewRun {
    NewRun {
        run: run_id(number),
        tenant: tenant("acme"),
        owner: UserId::new("alice").unwrap(),
        workflow: WorkflowId::new("report").unwrap(),
        version: ContentHash::of(b"workflow"),
        team: None,
        parent: None,
        request_hash: ContentHash::of(b"body"),
        pod: pod(),
        lease: MINUTE,
    }
}

/// The start of a step.
pub(crate) fn started(step: &str) -> Entry {
    Entry::StepStarted { key: step_key(step), attempt: 1, agent: None }
}

/// A step's result.
pub(crate) fn done(step: &str, value: &str) -> Entry {
    let outputs = Values::from([("text".to_owned(), value.into())]);
    Entry::StepDone {
        key: step_key(step),
        attempt: 1,
        result: ResultRef::Inline(outputs),
        hash: ContentHash::of(value.as_bytes()),
        usage: protocol::reply::Usage::default(),
        duration_ms: 1,
    }
}

/// A good end.
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
        tenant: tenant("acme"),
        user: UserId::new("alice").unwrap(),
        caller: "user:alice".into(),
        action: "invoke".into(),
        resource: "writer".into(),
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
