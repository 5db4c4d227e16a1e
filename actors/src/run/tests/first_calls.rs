//! The first calls of a run: they are audited and authorized while the run is being created, and executed once it is.

use greenroom_protocol::{ErrorCode, Status};
use greenroom_registry::StoreError;
use greenroom_registry::core::{Unit, UnitError};
use greenroom_registry::runs::RunFilter;
use serde_json::json;

use super::harness::{
    Gate, Harness, TestDefinitions, agent, delayed, names, rejecting, start, stores, until, workflow,
};

/// Two calls that begin with the run, and one that follows.
fn definitions() -> TestDefinitions {
    let steps = json!([
        {"id": "a", "agent": "worker"},
        {"id": "b", "agent": "worker"},
        {"id": "c", "agent": "worker", "depends_on": ["a", "b"]},
    ]);
    TestDefinitions {
        agents: vec![agent("worker", json!({}))],
        workflows: vec![workflow("w", steps)],
        ..TestDefinitions::default()
    }
}

fn creates_run(unit: &Unit<'_>) -> bool {
    unit.created().is_some()
}

fn requested_calls(harness: &Harness) -> usize {
    harness.pipeline.requests.lock().unwrap().iter().filter(|name| name.starts_with("invoke")).count()
}

async fn until_requested(harness: &Harness, gate: &Gate) {
    until("the first calls are requested", || gate.arrived() == 1 && requested_calls(harness) == 2).await;
    assert_eq!((harness.runs.hosted(), harness.calls().len()), (0, 0), "nothing is executed before the run is durable");
}

#[tokio::test(start_paused = true)]
async fn the_first_calls_are_authorized_while_their_run_is_created_and_executed_once_it_is() {
    let ((stores, clock), gate) = (stores(), Gate::closed());
    let stores = delayed(stores, gate.clone(), creates_run);
    let harness = Harness::open("pod_1", vec![definitions()], names(), stores, clock).await;
    let creation = async {
        until_requested(&harness, &gate).await;
        gate.open();
    };
    let (reply, ()) = tokio::join!(harness.request(start("w", json!({}))), creation);
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!((requested_calls(&harness), harness.calls().len()), (3, 3), "no call is requested twice");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_not_created_executes_none_of_its_first_calls() {
    let ((stores, clock), gate) = (stores(), Gate::closed());
    let stores = rejecting(stores, |unit| creates_run(unit).then_some(UnitError::Store(StoreError::Full)));
    let stores = delayed(stores, gate.clone(), creates_run);
    let harness = Harness::open("pod_1", vec![definitions()], names(), stores, clock).await;
    let creation = async {
        until_requested(&harness, &gate).await;
        gate.open();
    };
    let (reply, ()) = tokio::join!(harness.request(start("w", json!({}))), creation);
    assert_eq!(reply.error.map(|cause| cause.code), Some(ErrorCode::StoreUnavailable));
    assert!(harness.calls().is_empty());
    assert!(harness.stores.runs.list(&RunFilter::default(), None, 50).await.unwrap().runs.is_empty());
}
