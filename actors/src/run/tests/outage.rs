//! The server of a store that pods share is away for a while, or the clock of a pod is put forward: no pod dies of it, so
//! no call is repeated, and no run fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_protocol::journal::Entry;
use greenroom_protocol::{BootTime, Clock, RunId, Status, Timestamp};
use greenroom_registry::core::{Unit, UnitError};
use greenroom_registry::{StoreError, Stores};
use serde_json::json;

use super::harness::{
    Gate, Harness, Script, SharedCluster, TestDefinitions, agent, delayed, names, rejecting, run_id, start, stores,
    until, values, workflow,
};
use crate::run::{JOURNAL_WAIT_MAX, LEASE, RecoveryReport};

/// Two calls, the second of which has less time than the server is away, alone or in the workflow that calls them.
fn calls() -> TestDefinitions {
    let steps = json!([
        {"id": "first", "agent": "worker"},
        {"id": "second", "agent": "worker", "timeout": 20, "depends_on": ["first"]},
    ]);
    let outer = json!([{"id": "call", "workflow": "w"}]);
    TestDefinitions {
        agents: vec![agent("worker", json!({}))],
        workflows: vec![workflow("w", steps), workflow("outer", outer)],
        ..TestDefinitions::default()
    }
}

async fn open(stores: Stores, script: Script, clock: Arc<dyn Clock>) -> Harness {
    Harness::open("pod_1", vec![calls()], script, stores, clock).await
}

/// True if a run was resumed, or a step of it has failed.
async fn has_trouble(harness: &Harness, run: &RunId) -> bool {
    harness
        .entries(run)
        .await
        .iter()
        .any(|entry| matches!(entry, Entry::RunResumed { .. } | Entry::StepRetried { .. } | Entry::StepFailed { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_result_is_recorded_once_the_server_replies_and_its_call_is_not_repeated() {
    let (stores, clock) = stores();
    let (_cluster, stores) = SharedCluster::over(stores);
    let gate = Gate::closed();
    let has_result = |unit: &Unit<'_>| {
        let mut entries = unit.appended().into_iter().flatten();
        entries.any(|entry| matches!(entry, Entry::StepDone { .. }))
    };
    let harness = open(delayed(stores, gate.clone(), has_result), names(), clock).await;
    let outage = async {
        until("the first result is submitted", || gate.arrived() == 1).await;
        tokio::time::sleep(JOURNAL_WAIT_MAX * 3).await;
        assert_eq!((harness.runs.hosted(), harness.calls().len()), (1, 1), "its actor waits, and nothing follows");
        assert_eq!(harness.runs.recover_due().await.unwrap(), RecoveryReport::default());
        gate.open();
    };
    let (reply, ()) = tokio::join!(harness.request(start("w", json!({}))), outage);
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!(harness.calls().len(), 2, "no call was repeated");
    assert!(!has_trouble(&harness, &run_id(&reply)).await);
}

#[tokio::test(start_paused = true)]
async fn a_called_run_is_started_once_the_server_can_be_reached() {
    let (stores, clock) = stores();
    let (_cluster, stores) = SharedCluster::over(stores);
    let failures = Arc::new(AtomicUsize::new(5));
    let left = Arc::clone(&failures);
    let reject = move |unit: &Unit<'_>| {
        let is_called = unit.created().is_some_and(|run| run.tree_fence.is_some());
        let take = |left: usize| left.checked_sub(1);
        let is_away = is_called && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        is_away.then(|| UnitError::Store(StoreError::Unreachable("its server does not reply".to_owned())))
    };
    let harness = open(rejecting(stores, reject), names(), clock).await;
    let reply = harness.request(start("outer", json!({}))).await;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!((failures.load(Ordering::Relaxed), harness.calls().len()), (0, 2));
    assert!(!has_trouble(&harness, &run_id(&reply)).await, "no retry of the step was taken");
}

/// A clock that is put forward.
struct ShiftedClock {
    inner: Arc<dyn Clock>,
    shift_seconds: AtomicU64,
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        self.inner.now().saturating_add(Duration::from_secs(self.shift_seconds.load(Ordering::Relaxed)))
    }

    fn boot_time(&self) -> BootTime {
        self.inner.boot_time()
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_put_forward_makes_no_tree_due_whose_actors_are_active() {
    let (stores, inner) = stores();
    let (_cluster, stores) = SharedCluster::over(stores);
    let clock = Arc::new(ShiftedClock { inner, shift_seconds: AtomicU64::new(0) });
    let gate = Gate::closed();
    let model = gate.clone();
    let script: Script = Arc::new(move |_| {
        let gate = model.clone();
        Box::pin(async move {
            gate.pass().await;
            Ok(values(json!({"out": "text"})))
        })
    });
    let harness = open(stores, script, clock.clone()).await;
    let shift = async {
        until("the first call is under way", || gate.arrived() == 1).await;
        clock.shift_seconds.store(LEASE.as_secs() * 10, Ordering::Relaxed);
        assert_eq!(harness.runs.recover_due().await.unwrap(), RecoveryReport::default());
        gate.open();
    };
    let (reply, ()) = tokio::join!(harness.request(start("outer", json!({}))), shift);
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!(harness.calls().len(), 2, "no call was repeated");
    assert!(!has_trouble(&harness, &run_id(&reply)).await);
}
