//! Signals of users: approve, reject, cancel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::request::Signal;
use greenroom_protocol::{ErrorCode, RunId, Status, StepId};
use serde_json::json;

use super::harness::{Harness, Script, TestDefinitions, agent, detached, names, run_id, start, until, workflow};

fn approval() -> TestDefinitions {
    let steps = json!([
        {"id": "draft", "agent": "worker"},
        {"id": "send", "agent": "worker", "approval": {"prompt": "Send ${steps.draft.outputs.out} to ${inputs.to}?"}},
    ]);
    let agents = vec![agent("worker", json!({}))];
    TestDefinitions { agents, workflows: vec![workflow("w", steps)], ..TestDefinitions::default() }
}

pub(super) fn step(id: &str) -> StepId {
    StepId::new(id).unwrap()
}

async fn waiting(harness: &Harness) -> RunId {
    let run = run_id(&harness.request(detached("w", json!({"to": "them"}))).await);
    until_state(harness, &run, RunStatus::WaitingApproval).await;
    run
}

pub(super) async fn until_state(harness: &Harness, run: &RunId, state: RunStatus) {
    let waited = async {
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        while harness.stores.runs.get(run).await.unwrap().unwrap().status != state {
            interval.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_approval_has_a_prompt_and_starts_the_step() {
    let harness = Harness::new(approval(), names()).await;
    let run = waiting(&harness).await;
    assert_eq!(harness.calls().len(), 1);
    let prompts: Vec<_> = harness
        .entries(&run)
        .await
        .into_iter()
        .filter_map(|entry| match entry {
            greenroom_protocol::journal::Entry::ApprovalRequested { prompt, .. } => Some(prompt),
            _ => None,
        })
        .collect();
    assert_eq!(prompts, ["Send worker to them?"]);
    assert_eq!(harness.runs.run_info(&run).await.unwrap().status, RunStatus::WaitingApproval);
    let wrong = harness.signal(&run, Signal::Approve { step: step("draft"), call: None }).await;
    assert_eq!(wrong.error.unwrap().code, ErrorCode::UnknownStep);
    let approved = harness.signal(&run, Signal::Approve { step: step("send"), call: None }).await;
    assert_eq!(approved.status, Status::Success);
    until_state(&harness, &run, RunStatus::Success).await;
    assert_eq!(harness.calls().len(), 2);
    let rejected = harness.signal(&run, Signal::Approve { step: step("send"), call: None }).await;
    assert_eq!(rejected.error.unwrap().code, ErrorCode::RunNotActive);
}

#[tokio::test(start_paused = true)]
async fn a_run_awaits_approval_beyond_its_requests_deadline_and_across_a_crash() {
    let harness = Harness::new(approval(), names()).await;
    let run = waiting(&harness).await;
    tokio::time::advance(Duration::from_secs(7 * 24 * 60 * 60)).await;
    let harness = harness.crash(vec![approval()], names()).await;
    let rejected = harness.signal(&run, Signal::Approve { step: step("send"), call: None }).await.error.unwrap();
    assert_eq!(rejected.code, ErrorCode::RunNotActive, "nobody has taken it up yet");
    assert_eq!(harness.recover().await.resumed, 1);
    assert_eq!(harness.signal(&run, Signal::Approve { step: step("send"), call: None }).await.status, Status::Success);
    until_state(&harness, &run, RunStatus::Success).await;
    assert_eq!(harness.calls().len(), 1, "the draft was not written again");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_approval_fails_the_run() {
    let harness = Harness::new(approval(), names()).await;
    let run = waiting(&harness).await;
    harness.signal(&run, Signal::Reject { step: step("send"), call: None, reason: None }).await;
    until_state(&harness, &run, RunStatus::Failed).await;
    let reply = harness.stores.runs.reply(&run).await.unwrap().unwrap();
    assert_eq!(reply.error.unwrap().code, ErrorCode::ApprovalRejected);
}

/// Agents that never complete, and how many of them run.
fn hanging() -> (Script, Arc<AtomicUsize>) {
    struct Busy(Arc<AtomicUsize>);
    impl Drop for Busy {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let busy = Arc::new(AtomicUsize::new(0));
    let counted = busy.clone();
    let script: Script = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let guard = Busy(counted.clone());
        Box::pin(async move {
            let _guard = guard;
            std::future::pending().await
        })
    });
    (script, busy)
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_aborts_all_effects_and_nested_runs_at_once() {
    let definitions = TestDefinitions {
        agents: vec![agent("worker", json!({}))],
        workflows: vec![
            workflow("w", json!([{"id": "a", "agent": "worker"}, {"id": "sub", "workflow": "inner"}])),
            workflow("inner", json!([{"id": "x", "agent": "worker"}, {"id": "y", "agent": "worker"}])),
        ],
        ..TestDefinitions::default()
    };
    let (script, busy) = hanging();
    let harness = Harness::new(definitions, script).await;
    let request = harness.request(start("w", json!({})));
    let cancelled = async {
        until("three agents are at work", || busy.load(Ordering::SeqCst) == 3).await;
        let records = harness.stores.runs.list(&Default::default(), None, 50).await.unwrap().runs;
        let run = records.iter().find(|record| record.parent.is_none()).unwrap().run.clone();
        let started = tokio::time::Instant::now();
        assert_eq!(harness.signal(&run, Signal::Cancel).await.status, Status::Success);
        until("no agent works", || busy.load(Ordering::SeqCst) == 0).await;
        until("no run is hosted", || harness.runs.hosted() == 0).await;
        assert!(started.elapsed() <= Duration::from_millis(100));
        run
    };
    let (reply, run) = tokio::join!(request, cancelled);
    assert_eq!((reply.status, reply.error.unwrap().code), (Status::Cancelled, ErrorCode::Cancelled));
    let records = harness.stores.runs.list(&Default::default(), None, 50).await.unwrap().runs;
    assert!(records.iter().all(|record| record.status == RunStatus::Cancelled));
    let rejected = harness.signal(&run, Signal::Cancel).await.error.unwrap();
    assert_eq!((rejected.code, rejected.message.as_str()), (ErrorCode::RunNotActive, "the run has ended as cancelled"));
    let unknown = harness.signal(&RunId::new("run_none").unwrap(), Signal::Cancel).await.error.unwrap();
    assert_eq!(unknown.code, ErrorCode::UnknownRun);
}
