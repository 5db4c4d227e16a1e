//! The first calls of a run: they are audited and authorized while the run is being created, and executed once it is.

use std::sync::{Arc, Mutex};

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::{ErrorCode, RunId, Status};
use greenroom_registry::StoreError;
use greenroom_registry::core::{Conflict, Unit, UnitError};
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

pub(super) fn creates_run(unit: &Unit<'_>) -> bool {
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

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_first_call_fails_its_step_and_not_the_request_that_starts_the_run() {
    let ((stores, clock), gate) = (stores(), Gate::closed());
    let stores = delayed(stores, gate.clone(), creates_run);
    let harness = Harness::open("pod_1", vec![definitions()], names(), stores, clock).await;
    *harness.pipeline.panics_at_request.lock().unwrap() = Some("invoke");
    let creation = async {
        until_requested(&harness, &gate).await;
        gate.open();
    };
    let (reply, ()) = tokio::join!(harness.request(start("w", json!({}))), creation);
    assert_eq!(reply.error.map(|cause| cause.code), Some(ErrorCode::Internal));
    let runs = harness.stores.runs.list(&RunFilter::default(), None, 50).await.unwrap().runs;
    assert_eq!(runs.iter().map(|record| record.status).collect::<Vec<_>>(), [RunStatus::Failed], "the run has ended");
    assert!(harness.calls().len() <= 1, "only the call that has not panicked may have been executed");
}

/// Two requests with one key may both create the run before one of them finds it.
#[tokio::test(start_paused = true)]
async fn a_start_that_finds_its_run_created_meanwhile_executes_none_of_its_first_calls() {
    let ((stores, clock), gate, first) = (stores(), Gate::closed(), Arc::new(Mutex::new(None::<RunId>)));
    let (created, known) = (first.clone(), first.clone());
    let stores = rejecting(stores, move |unit| {
        let first = created.lock().unwrap().clone().filter(|_| creates_run(unit))?;
        Some(UnitError::Conflict(Conflict::Run(Some(first))))
    });
    let stores = delayed(stores, gate.clone(), move |unit| creates_run(unit) && known.lock().unwrap().is_some());
    let harness = Harness::open("pod_1", vec![definitions()], names(), stores, clock).await;
    let winner = harness.request(start("w", json!({}))).await;
    let runs = async || harness.stores.runs.list(&RunFilter::default(), None, 50).await.unwrap().runs;
    let run = runs().await[0].run.clone();
    *first.lock().unwrap() = Some(run);
    let creation = async {
        until("the first calls are requested", || gate.arrived() == 1 && requested_calls(&harness) == 5).await;
        gate.open();
    };
    let (loser, ()) = tokio::join!(harness.request(start("w", json!({}))), creation);
    assert_eq!((winner.status, loser.status, &loser.error), (Status::Success, Status::Success, &None));
    assert_eq!(winner.outputs, loser.outputs);
    assert_eq!((harness.calls().len(), runs().await.len()), (3, 1), "each step is executed once");
}
