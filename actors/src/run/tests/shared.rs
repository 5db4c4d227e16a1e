//! Runs of stores that pods share: they are claimed, leave their pod while they only wait, and get the signals that
//! another pod has received.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{ResumeRun, Signal};
use greenroom_protocol::{ErrorCode, Request, RunId, Status};
use serde_json::json;

use super::harness::{
    Harness, ParkFault, SharedCluster, TestDefinitions, agent, detached, names, run_id, start, stores, until,
    until_entry, workflow,
};
use super::signals::{step, until_state};
use crate::observer::ActorEvent;
use crate::run::{LEASE, PARK_DELAY, RecoveryReport};

/// A workflow that waits for a person, for an hour at most, alone or in the workflow that calls it.
fn approval() -> TestDefinitions {
    let steps = json!([
        {"id": "draft", "agent": "worker"},
        {"id": "send", "agent": "worker", "approval": {"prompt": "Send it?", "timeout": 3600}, "depends_on": ["draft"]},
    ]);
    let outer = json!([{"id": "call", "workflow": "w"}]);
    TestDefinitions {
        agents: vec![agent("worker", json!({}))],
        workflows: vec![workflow("w", steps), workflow("outer", outer)],
        ..TestDefinitions::default()
    }
}

async fn open() -> (Arc<SharedCluster>, Harness) {
    open_with(approval()).await
}

/// A pod with these definitions, over stores that others use too.
pub(super) async fn open_with(definitions: TestDefinitions) -> (Arc<SharedCluster>, Harness) {
    let (stores, clock) = stores();
    let (cluster, stores) = SharedCluster::over(stores);
    (cluster, Harness::open("pod_1", vec![definitions], names(), stores, clock).await)
}

pub(super) async fn recover_due(harness: &Harness) -> RecoveryReport {
    harness.runs.recover_due().await.unwrap()
}

/// Starts a detached run. The pipeline of the harness has no ticket for it, so it is created without an owner; in memory
/// its creator owns it until its lease is over.
pub(super) async fn start_unowned(harness: &Harness, name: &str) -> RunId {
    let announced = || harness.stores.cluster.watch_announcements().borrow().trees;
    let before = announced();
    let run = run_id(&harness.request(detached(name, json!({}))).await);
    assert_eq!(harness.runs.hosted(), 0, "any pod may claim it");
    assert_eq!(announced(), before + 1, "one is woken");
    assert!(matches!(harness.entries(&run).await[..], [Entry::RunStarted(_)]));
    tokio::time::advance(LEASE * 2).await;
    run
}

/// Waits until the runs of a tree have left their pod.
pub(super) async fn until_parked(harness: &Harness, cluster: &SharedCluster, root: &RunId) {
    tokio::time::advance(PARK_DELAY).await;
    until("the tree is parked", || cluster.is_parked(root)).await;
    until("its ticket is released", || harness.tickets() == 0).await;
    assert_eq!(harness.runs.hosted(), 0);
}

async fn approve(harness: &Harness, run: &RunId) {
    let approved = harness.signal(run, Signal::Approve { step: step("send"), call: None }).await;
    assert_eq!((approved.status, approved.error), (Status::Success, None));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_only_waits_leaves_its_pod_until_a_signal_wakes_it() {
    let (cluster, harness) = open().await;
    let run = start_unowned(&harness, "w").await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    until_state(&harness, &run, RunStatus::WaitingApproval).await;
    assert_eq!(harness.tickets(), 1);
    until_parked(&harness, &cluster, &run).await;
    assert_eq!(recover_due(&harness).await, RecoveryReport::default(), "it is not due");
    let wrong = harness.signal(&run, Signal::Approve { step: step("draft"), call: None }).await;
    assert_eq!(wrong.error.unwrap().code, ErrorCode::UnknownStep, "the pod that receives a signal checks it");
    approve(&harness, &run).await;
    let messages = cluster.messages();
    let [message] = &messages[..] else { panic!("{messages:?}") };
    harness.runs.deliver(message).await.unwrap();
    assert_eq!(cluster.messages().len(), 1, "no pod owns the run yet");
    assert_eq!(recover_due(&harness).await.resumed, 1);
    for _ in 0..2 {
        harness.runs.deliver(message).await.unwrap();
        assert_eq!(cluster.messages(), []);
    }
    until_state(&harness, &run, RunStatus::Success).await;
    let entries = harness.entries(&run).await;
    assert_eq!(entries.iter().filter(|entry| matches!(entry, Entry::ApprovalResolved { .. })).count(), 1);
    assert_eq!(harness.calls().len(), 2, "no step was repeated");
    assert_eq!(harness.events.count(|event| *event == ActorEvent::TreeParked), 1);
    assert_eq!(harness.events.count(|event| *event == ActorEvent::TreeClaimed { was_parked: true }), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_parking_is_not_acknowledged_leaves_its_pod_and_is_resumed_once() {
    for fault in [ParkFault::NotExecuted, ParkFault::NotAcknowledged] {
        let (cluster, harness) = open().await;
        let run = start_unowned(&harness, "w").await;
        assert_eq!(recover_due(&harness).await.resumed, 1);
        until_state(&harness, &run, RunStatus::WaitingApproval).await;
        *cluster.park_fault.lock().unwrap() = Some(fault);
        tokio::time::advance(PARK_DELAY).await;
        let is_parked = fault == ParkFault::NotAcknowledged;
        let has_failed = || cluster.park_fault.lock().unwrap().is_none() && cluster.is_parked(&run) == is_parked;
        until("the parking has failed", has_failed).await;
        until("its ticket is released", || harness.tickets() == 0).await;
        assert_eq!(harness.runs.hosted(), 0);
        approve(&harness, &run).await;
        // It is owned by no pod, whether or not it is parked.
        let resuming = async {
            let mut interval = tokio::time::interval(Duration::from_millis(1));
            while recover_due(&harness).await.resumed == 0 {
                interval.tick().await;
            }
        };
        tokio::time::timeout(LEASE / 2, resuming).await.expect("it is due before its lease is over");
        harness.runs.deliver(&cluster.messages()[0]).await.unwrap();
        until_state(&harness, &run, RunStatus::Success).await;
        assert_eq!(harness.calls().len(), 2, "no step was repeated");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tree_leaves_as_a_whole_and_its_inner_run_gets_the_signal() {
    let (cluster, harness) = open().await;
    let outer = start_unowned(&harness, "outer").await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    let inner = async || harness.stores.runs.list_tree(&outer).await.unwrap().into_iter().find(|run| !run.is_root());
    until("the inner run is active", || harness.runs.hosted() == 2).await;
    let inner = inner().await.unwrap().run;
    until_entry(&harness, &outer, 1, |entry| matches!(entry, Entry::CallAwaitsApproval { .. })).await;
    until_parked(&harness, &cluster, &outer).await;
    approve(&harness, &inner).await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    // It is activated by the call of the resumed outer run.
    harness.runs.deliver(&cluster.messages()[0]).await.unwrap();
    assert_eq!(cluster.messages(), []);
    until_state(&harness, &outer, RunStatus::Success).await;
    assert_eq!(harness.calls().len(), 2, "no step was repeated");
}

#[tokio::test(start_paused = true)]
async fn a_parked_run_is_due_when_the_time_of_its_approval_is_over() {
    let (cluster, harness) = open().await;
    let run = start_unowned(&harness, "w").await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    until_state(&harness, &run, RunStatus::WaitingApproval).await;
    until_parked(&harness, &cluster, &run).await;
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(recover_due(&harness).await.resumed, 1);
    until_state(&harness, &run, RunStatus::TimedOut).await;
    assert_eq!(harness.stores.runs.reply(&run).await.unwrap().unwrap().error.unwrap().code, ErrorCode::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_caller_waits_does_not_leave_its_pod() {
    let (cluster, harness) = open().await;
    let request = harness.request(start("w", json!({})));
    let observed = async {
        until("the run is active", || harness.runs.hosted() == 1).await;
        let run = harness.stores.runs.list(&Default::default(), None, 1).await.unwrap().runs[0].run.clone();
        until_state(&harness, &run, RunStatus::WaitingApproval).await;
        tokio::time::sleep(PARK_DELAY * 2).await;
        assert!(!cluster.is_parked(&run) && harness.runs.hosted() == 1);
        approve(&harness, &run).await;
        assert_eq!(cluster.messages(), [], "its own pod has recorded the signal");
    };
    let (reply, ()) = tokio::join!(request, observed);
    assert_eq!(reply.status, Status::Success);
}

#[tokio::test(start_paused = true)]
async fn a_tree_whose_pods_have_died_too_often_is_dead_until_it_is_tried_again() {
    let (cluster, harness) = open().await;
    let run = start_unowned(&harness, "w").await;
    cluster.attempts.store(6, Ordering::Relaxed);
    assert_eq!(recover_due(&harness).await, RecoveryReport { dead: 1, ..RecoveryReport::default() });
    let entries = harness.entries(&run).await;
    let Some(Entry::RunGivenUp { cause, failures: 0, attempts: 6 }) = entries.last() else { panic!("{entries:?}") };
    assert_eq!((cause.code, &cause.details), (ErrorCode::Internal, &json!({ "attempts": 6 })));
    tokio::time::advance(LEASE * 100).await;
    assert_eq!(recover_due(&harness).await, RecoveryReport::default(), "it is not due");
    let approved = harness.signal(&run, Signal::Approve { step: step("send"), call: None }).await;
    assert_eq!((approved.error.unwrap().code, cluster.messages()), (ErrorCode::RunNotActive, Vec::new()));
    assert!(harness.calls().is_empty());
    let retried = harness.request(Request::ResumeRun(ResumeRun { run: run.clone(), dead: true })).await;
    assert_eq!((retried.status, retried.error), (Status::Success, None));
    until_state(&harness, &run, RunStatus::WaitingApproval).await;
    assert_eq!(harness.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_tree_whose_owner_is_unknown_is_ended_after_it_was_claimed() {
    let (_cluster, harness) = open().await;
    let run = start_unowned(&harness, "w").await;
    harness.users.removed.store(true, Ordering::Relaxed);
    assert_eq!(recover_due(&harness).await.terminated, 1);
    let cause = harness.stores.runs.reply(&run).await.unwrap().unwrap().error.unwrap();
    assert_eq!(cause.code, ErrorCode::Unauthenticated);
}
