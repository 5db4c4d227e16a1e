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

/// A pod with a run of this workflow: the one step of `w`, which `outer` calls, has failed, and is retried after `delay`
/// seconds. The run of `w` may take `timeout` seconds.
async fn with_retry(name: &str, delay: u64, timeout: u64) -> (Arc<SharedCluster>, Harness, RunId) {
    let retry = json!({"max_attempts": 2, "backoff": "fixed", "delay": delay, "max_delay": delay});
    let mut retried = workflow("w", json!([{"id": "call", "agent": "worker", "retry": retry}]));
    retried["timeout"] = json!(timeout);
    let outer = workflow("outer", json!([{"id": "call", "workflow": "w"}]));
    let agents = vec![agent("worker", json!({}))];
    let definitions = TestDefinitions { agents, workflows: vec![retried, outer], ..TestDefinitions::default() };
    let script = immediate(|call| match call.attempt {
        1 => Err(Cause::new(ErrorCode::ModelOverloaded, "busy")),
        _ => Ok(values(json!({ "out": call.agent }))),
    });
    let (stores, clock) = stores();
    let (cluster, stores) = SharedCluster::over(stores);
    let harness = Harness::open("pod_1", vec![definitions], script, stores, clock).await;
    let run = start_unowned(&harness, name).await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    let is_retried = |entry: &Entry| matches!(entry, Entry::StepRetried { .. } | Entry::NestedRetryTaken);
    until_entry(&harness, &run, 1, is_retried).await;
    (cluster, harness, run)
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_a_late_retry_leaves_its_pod_and_is_due_at_its_time() {
    let (cluster, harness, run) = with_retry("w", 600, 3_600).await;
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
    let (cluster, harness, run) = with_retry("w", 600, 900).await;
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
    let (cluster, harness, run) = with_retry("w", 90, 3_600).await;
    tokio::time::advance(PARK_DELAY).await;
    until_state(&harness, &run, RunStatus::Success).await;
    assert!(!cluster.is_parked(&run));
    assert_eq!(harness.events.count(|event| *event == ActorEvent::TreeParked), 0);
    assert_eq!(harness.calls().len(), 2);
}

/// A call of a run has reported that its run waits for a retry.
fn awaits_retry(entry: &Entry) -> bool {
    matches!(entry, Entry::CallAwaitsApproval { retry_at: Some(_), idle: false, .. })
}

#[tokio::test(start_paused = true)]
async fn a_tree_whose_inner_run_waits_for_a_late_retry_leaves_its_pod_as_a_whole() {
    let (cluster, harness, outer) = with_retry("outer", 600, 3_600).await;
    until_entry(&harness, &outer, 1, awaits_retry).await;
    assert_eq!(harness.runs.hosted(), 2);
    until_parked(&harness, &cluster, &outer).await;
    assert_eq!(recover_due(&harness).await, RecoveryReport::default(), "it is not due");
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    until_state(&harness, &outer, RunStatus::Success).await;
    assert_eq!(harness.calls().len(), 2, "the attempt that failed, and the retry");
    assert_eq!(harness.events.count(|event| *event == ActorEvent::TreeClaimed { was_parked: true }), 1);
    let deadlines: Vec<_> = harness.entries(&outer).await.iter().filter_map(resumed_until).collect();
    let [before, after] = deadlines.as_slice() else { panic!("it was resumed twice: {deadlines:?}") };
    assert!(after.0.saturating_duration_since(before.0) < PARK_DELAY * 2, "its time passes: {before:?} {after:?}");
}

#[tokio::test(start_paused = true)]
async fn an_early_retry_of_an_inner_run_is_not_reported_and_its_tree_remains() {
    let (cluster, harness, outer) = with_retry("outer", 30, 3_600).await;
    tokio::time::advance(PARK_DELAY).await;
    until_state(&harness, &outer, RunStatus::Success).await;
    assert!(!cluster.is_parked(&outer));
    assert!(!harness.entries(&outer).await.iter().any(awaits_retry));
    assert_eq!(harness.calls().len(), 2);
}
