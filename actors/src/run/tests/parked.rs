//! Runs that wait for a retry for long leave their pod, and are due at the time of the retry or at their deadline.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{Cause, Deadline, ErrorCode, RunId};
use serde_json::json;

use super::harness::{
    Harness, SharedCluster, TestDefinitions, agent, immediate, stores, until_entry, values, workflow,
};
use super::shared::{recover_due, start_unowned, until_parked};
use super::signals::until_state;
use crate::observer::ActorEvent;
use crate::run::{PARK_DELAY, RecoveryReport};

/// A pod with a run whose one step has failed, and is retried after `delay` seconds.
async fn with_retry(delay: u64, timeout: u64) -> (Arc<SharedCluster>, Harness, RunId) {
    let retry = json!({"max_attempts": 2, "backoff": "fixed", "delay": delay, "max_delay": delay});
    let mut retried = workflow("w", json!([{"id": "call", "agent": "worker", "retry": retry}]));
    retried["timeout"] = json!(timeout);
    let agents = vec![agent("worker", json!({}))];
    let definitions = TestDefinitions { agents, workflows: vec![retried], ..TestDefinitions::default() };
    let script = immediate(|call| match call.attempt {
        1 => Err(Cause::new(ErrorCode::ModelOverloaded, "busy")),
        _ => Ok(values(json!({ "out": call.agent }))),
    });
    let (stores, clock) = stores();
    let (cluster, stores) = SharedCluster::over(stores);
    let harness = Harness::open("pod_1", vec![definitions], script, stores, clock).await;
    let run = start_unowned(&harness, "w").await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    until_entry(&harness, &run, 1, |entry| matches!(entry, Entry::StepRetried { .. })).await;
    (cluster, harness, run)
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_a_late_retry_leaves_its_pod_and_is_due_at_its_time() {
    let (cluster, harness, run) = with_retry(600, 3_600).await;
    until_parked(&harness, &cluster, &run).await;
    assert_eq!(recover_due(&harness).await, RecoveryReport::default(), "it is not due");
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    until_state(&harness, &run, RunStatus::Success).await;
    assert_eq!(harness.calls().len(), 2, "the attempt that failed, and the retry");
    assert_eq!(harness.events.count(|event| *event == ActorEvent::TreeClaimed { was_parked: true }), 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_run_passes_while_it_waits_for_a_retry_without_an_owner() {
    let (cluster, harness, run) = with_retry(600, 900).await;
    until_parked(&harness, &cluster, &run).await;
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    until_state(&harness, &run, RunStatus::Success).await;
    let deadlines: Vec<_> = harness.entries(&run).await.iter().filter_map(resumed_until).collect();
    let [before, after] = deadlines.as_slice() else { panic!("it was resumed twice: {deadlines:?}") };
    assert!(after.0.saturating_duration_since(before.0) < PARK_DELAY * 2, "{before:?} {after:?}");
}

/// The deadline of a run after its resumption.
fn resumed_until(entry: &Entry) -> Option<Deadline> {
    match entry {
        Entry::RunResumed { deadline, .. } => Some(*deadline),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_an_early_retry_remains_on_its_pod() {
    let (cluster, harness, run) = with_retry(90, 3_600).await;
    tokio::time::advance(PARK_DELAY).await;
    until_state(&harness, &run, RunStatus::Success).await;
    assert!(!cluster.is_parked(&run));
    assert_eq!(harness.events.count(|event| *event == ActorEvent::TreeParked), 0);
    assert_eq!(harness.calls().len(), 2);
}
