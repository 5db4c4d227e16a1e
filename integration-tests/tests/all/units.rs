//! What is durable together in the whole platform: the end of a step and the settlement of what it has cost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use greenroom_client::CallParams;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod, text};
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{RunId, Status, Timestamp, Tokens};
use greenroom_registry::core::{CoreStore, PendingUnit, Unit};
use greenroom_registry::group_commit::CommitTiming;
use greenroom_registry::journal::JournalError;
use greenroom_registry::runs::Fence;
use greenroom_registry::{StoreError, Stores};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedReply};
use greenroom_supervisor::compose::Overrides;

const AGENT: &str = "thinking_agent";

/// A unit: the steps whose end it records, whether it appends anything, and its settlements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RecordedUnit {
    is_append: bool,
    steps: usize,
    settlements: usize,
}

/// Records every unit.
struct RecordingCore {
    inner: Arc<dyn CoreStore>,
    units: Arc<Mutex<Vec<RecordedUnit>>>,
}

impl RecordingCore {
    fn record(&self, unit: &Unit<'_>) {
        let entries = unit.appended().unwrap_or_default();
        let steps = entries.iter().filter(|entry| matches!(entry, Entry::StepDone { .. })).count();
        let recorded = RecordedUnit { is_append: !entries.is_empty(), steps, settlements: unit.settlements() };
        self.units.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
    }
}

#[async_trait]
impl CoreStore for RecordingCore {
    async fn submit(&self, unit: Unit<'_>, timing: CommitTiming) -> Result<PendingUnit, StoreError> {
        self.record(&unit);
        self.inner.submit(unit, timing).await
    }

    async fn send(&self, unit: Unit<'_>) -> Result<(), StoreError> {
        self.record(&unit);
        self.inner.send(unit).await
    }

    async fn renew(&self, root: &RunId, fence: Fence, lease: Duration, now: Timestamp) -> Result<(), JournalError> {
        self.inner.renew(root, fence, lease, now).await
    }
}

#[tokio::test]
async fn a_settlement_is_one_unit_with_the_end_of_its_step_or_with_the_end_of_its_request() {
    const STEPS: usize = 4;
    let definitions = tempfile::tempdir().expect("a folder");
    let folder = DefinitionsDir::new(definitions.path()).expect("definitions");
    folder.write_model_agent(AGENT, "scripted.any").expect("an agent");
    folder.write_row_workflow("row", AGENT, STEPS).expect("a workflow");
    let tokens = Tokens { input: 3, output: 4 };
    let model = Script::always(Duration::ZERO, ScriptedReply::Blank, Some(tokens));
    let units = Arc::<Mutex<Vec<RecordedUnit>>>::default();
    let recorded = Arc::clone(&units);
    let wrap = move |stores: Stores| {
        let core = Arc::new(RecordingCore { inner: Arc::clone(&stores.core), units: recorded });
        Stores { core, ..stores }
    };
    let overrides = Overrides {
        providers: vec![Arc::new(Scripted::new(model))],
        stores: Some(Box::new(wrap)),
        ..Overrides::default()
    };
    let test_pod = start_pod(StoreKind::Full, Some(folder.dir()), overrides).await.expect("a pod");
    let client = test_pod.admin().expect("a client");
    let params = || CallParams { inputs: text("x"), ..CallParams::default() };
    let take = || std::mem::take(&mut *units.lock().unwrap_or_else(PoisonError::into_inner));

    let reply = client.run_workflow("row".parse().expect("an id"), params()).await.expect("a reply");
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    let of_run = take();
    assert_eq!(of_run.iter().map(|unit| unit.settlements).sum::<usize>(), STEPS, "{of_run:?}");
    assert!(of_run.iter().all(|unit| unit.steps == unit.settlements), "{of_run:?}");

    let reply = client.run_agent(AGENT.parse().expect("an id"), params()).await.expect("a reply");
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    let of_request: Vec<_> = take().into_iter().filter(|unit| unit.settlements > 0).collect();
    assert_eq!(of_request, [RecordedUnit { is_append: false, steps: 0, settlements: 1 }]);
    test_pod.pod.shutdown().await;
}
