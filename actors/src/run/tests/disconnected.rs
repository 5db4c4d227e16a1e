//! Callers that disconnect while a run is created or resumed for them.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::{Cause, RunId, Values};
use greenroom_registry::core::Unit;
use greenroom_registry::runs::RunFilter;
use serde_json::json;

use super::first_calls::creates_run;
use super::harness::{
    Gate, Harness, Script, TestDefinitions, agent, delayed, detached, names, run_id, start, stores, until, workflow,
};
use super::signals::until_state;
use crate::run::RecoveryReport;

/// Longest wait of the test's clock.
const WAIT_MAX: Duration = Duration::from_secs(60);

fn definitions() -> TestDefinitions {
    let steps = json!([{"id": "a", "agent": "worker"}, {"id": "b", "agent": "worker", "depends_on": ["a"]}]);
    TestDefinitions {
        agents: vec![agent("worker", json!({}))],
        workflows: vec![workflow("w", steps)],
        ..TestDefinitions::default()
    }
}

fn opens_entry(unit: &Unit<'_>) -> bool {
    unit.opening().is_some()
}

/// Waits until the store has a run.
async fn created_run(harness: &Harness) -> RunId {
    let created = async {
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        loop {
            let runs = harness.stores.runs.list(&RunFilter::default(), None, 50).await.unwrap().runs;
            if let Some(record) = runs.into_iter().next() {
                return record.run;
            }
            interval.tick().await;
        }
    };
    tokio::time::timeout(WAIT_MAX, created).await.unwrap()
}

/// The caller goes after the store has committed the run, and before it has replied to the creation, or to the opening of
/// the audit entry. Recovery would resume the run at the next start of the pod.
#[tokio::test(start_paused = true)]
async fn a_run_whose_caller_disconnects_while_it_is_created_starts_and_ends() {
    for is_delayed in [creates_run as fn(&Unit<'_>) -> bool, opens_entry] {
        let ((stores, clock), gate) = (stores(), Gate::closed());
        let stores = delayed(stores, gate.clone(), is_delayed);
        let harness = Harness::open("pod_1", vec![definitions()], names(), stores, clock).await;
        let mut request = Box::pin(harness.request(start("w", json!({}))));
        let run = tokio::select! {
            reply = &mut request => panic!("the store has replied to it: {reply:?}"),
            run = created_run(&harness) => run,
        };
        drop(request);
        assert_eq!((harness.runs.hosted(), harness.calls().len()), (0, 0), "nothing has started");
        gate.open();
        until_state(&harness, &run, RunStatus::Success).await;
        assert_eq!(harness.calls().len(), 2, "each step is executed once");
        assert_eq!(harness.recover().await, RecoveryReport::default(), "nothing is left to take up");
    }
}

fn hanging() -> Script {
    Arc::new(|_| Box::pin(std::future::pending::<Result<Values, Cause>>()))
}

#[tokio::test(start_paused = true)]
async fn a_tree_whose_resumption_was_dropped_is_resumed_by_the_next_request() {
    let harness = Harness::new(definitions(), hanging()).await;
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    until("the first step is under way", || harness.calls().len() == 1).await;
    let harness = harness.crash(vec![definitions()], names()).await;
    let gate = Gate::closed();
    *harness.pipeline.request_gate.lock().unwrap() = Some(("resume_run", gate.clone()));
    let mut recovering = Box::pin(harness.recover());
    tokio::select! {
        report = &mut recovering => panic!("the gate is closed: {report:?}"),
        () = until("the resumption is requested", || gate.arrived() == 1) => {}
    }
    drop(recovering);
    gate.open();
    let resumed = async {
        while harness.recover().await.resumed == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(WAIT_MAX, resumed).await.is_ok(), "this pod still owns the tree, and nothing runs it");
    until_state(&harness, &run, RunStatus::Success).await;
}
