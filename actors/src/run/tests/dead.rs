//! Runs that were given up: who awaits one gets the cause, and it is continued from its journal or cancelled by a user.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{ResumeRun, Signal};
use greenroom_protocol::{Deadline, ErrorCode, PodId, Reply, Request, RunId, Status, UserId};
use greenroom_registry::journal::AppendPosition;
use serde_json::json;

use super::harness::{Harness, Script, TestDefinitions, agent, detached, names, run_id, until, values, workflow};
use super::signals::{step, until_state};
use crate::run::{LEASE, RecoveryReport};

const MINUTE: Duration = Duration::from_secs(60);

fn two_steps() -> TestDefinitions {
    let steps = json!([
        {"id": "first", "agent": "worker", "compensate": {"agent": "worker"}},
        {"id": "last", "agent": "worker", "depends_on": ["first"], "outputs": ["out"]},
    ]);
    let agents = vec![agent("worker", json!({}))];
    TestDefinitions { agents, workflows: vec![workflow("w", steps)], ..TestDefinitions::default() }
}

/// The last step never ends.
fn stuck_at_last() -> Script {
    Arc::new(|call| {
        Box::pin(async move {
            if call.key.ends_with("/last") {
                std::future::pending::<()>().await;
            }
            Ok(values(json!({ "out": call.agent })))
        })
    })
}

async fn status(harness: &Harness, run: &RunId) -> RunStatus {
    harness.stores.runs.get(run).await.unwrap().unwrap().status
}

/// A harness with a run that is dead, because its resumption panicked each time. The first step is recorded.
async fn with_dead_run(key: Option<&str>) -> (Harness, RunId) {
    let harness = Harness::new(two_steps(), stuck_at_last()).await;
    let run = run_id(&harness.request_with_key(detached("w", json!({})), key).await);
    until("the last step is active", || harness.calls().len() == 2).await;
    let harness = harness.crash(vec![two_steps()], names()).await;
    *harness.pipeline.panics_at_resumption.lock().unwrap() = Some(run.clone());
    for _ in 0..200 {
        tokio::time::advance(Duration::from_secs(1)).await;
        harness.recover().await;
    }
    *harness.pipeline.panics_at_resumption.lock().unwrap() = None;
    assert_eq!(status(&harness, &run).await, RunStatus::Dead);
    (harness, run)
}

async fn resume(harness: &Harness, run: &RunId, dead: bool) -> Reply {
    harness.request(Request::ResumeRun(ResumeRun { run: run.clone(), dead })).await
}

fn code(reply: &Reply) -> Option<ErrorCode> {
    reply.error.as_ref().map(|cause| cause.code)
}

#[tokio::test(start_paused = true)]
async fn a_dead_run_is_continued_from_its_journal_when_a_user_retries_it() {
    let (harness, run) = with_dead_run(None).await;
    assert_eq!(harness.recover().await, RecoveryReport::default(), "recovery does not look for it");
    for refused in [
        resume(&harness, &run, false).await,
        harness.signal(&run, Signal::Approve { step: step("last"), call: None }).await,
    ] {
        let cause = refused.error.unwrap();
        assert_eq!(cause.code, ErrorCode::RunNotActive);
        assert!(cause.message.contains(&format!("`greenroom runs dead retry {run}`")), "{}", cause.message);
    }
    let retried = resume(&harness, &run, true).await;
    assert_eq!((retried.status, &retried.error), (Status::Success, &None));
    until_state(&harness, &run, RunStatus::Success).await;
    let keys: Vec<String> = harness.calls().into_iter().map(|call| call.key).collect();
    assert_eq!(keys, [format!("{run}/last")], "no recorded step is repeated");
    let entries = harness.entries(&run).await;
    let reopened = |entry: &&Entry| matches!(entry, Entry::RunReopened { by } if by.as_str() == "admin");
    assert_eq!(entries.iter().filter(reopened).count(), 1, "the journal names the user");
    assert_eq!(harness.stores.runs.get(&run).await.unwrap().unwrap().failures, 0);
    let requests = harness.pipeline.requests.lock().unwrap().clone();
    let last: Vec<&String> =
        requests.iter().filter(|request| request.starts_with("resume_run")).rev().take(2).collect();
    assert_eq!(last.len(), 2, "the request of the user, and that of the recorded owner: {requests:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_not_dead_is_not_retried() {
    let harness = Harness::new(two_steps(), stuck_at_last()).await;
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    until("the last step is active", || harness.calls().len() == 2).await;
    let refused = resume(&harness, &run, true).await.error.unwrap();
    assert_eq!((refused.code, refused.details), (ErrorCode::RunNotActive, json!({ "status": "running" })));
    harness.signal(&run, Signal::Cancel).await;
    until_state(&harness, &run, RunStatus::Cancelled).await;
    let refused = resume(&harness, &run, true).await.error.unwrap();
    assert_eq!((refused.code, refused.details), (ErrorCode::RunNotActive, json!({ "status": "cancelled" })));
    let entries = harness.entries(&run).await;
    assert!(!entries.iter().any(|entry| matches!(entry, Entry::RunReopened { .. })));
}

#[tokio::test(start_paused = true)]
async fn who_awaits_a_dead_run_gets_the_cause_and_after_a_retry_the_reply() {
    let (harness, run) = with_dead_run(Some("once")).await;
    let ended = async || harness.runs.wait_ended(&run, Deadline::after(harness.clock.now(), MINUTE)).await;
    let cause = ended().await.unwrap_err();
    assert_eq!((cause.code, &cause.details), (ErrorCode::Internal, &json!({ "failures": 6 })));
    let repeated = harness.request_with_key(detached("w", json!({})), Some("once")).await;
    assert_eq!(
        (run_id(&repeated), &repeated.outputs["status"]),
        (run.clone(), &json!("dead")),
        "the key names the run"
    );
    assert_eq!(code(&resume(&harness, &run, true).await), None);
    let reply = ended().await.unwrap();
    assert_eq!((reply.status, &reply.outputs["out"]), (Status::Success, &json!("worker")));
}

#[tokio::test(start_paused = true)]
async fn a_dead_run_is_cancelled_without_a_further_call() {
    let (harness, run) = with_dead_run(None).await;
    let cancelled = harness.signal(&run, Signal::Cancel).await;
    assert_eq!((cancelled.status, &cancelled.error), (Status::Success, &None));
    assert_eq!(status(&harness, &run).await, RunStatus::Cancelled);
    let reply = harness.stores.runs.reply(&run).await.unwrap().unwrap();
    assert_eq!((reply.status, code(&reply)), (Status::Cancelled, Some(ErrorCode::Cancelled)));
    assert!(harness.calls().is_empty(), "nothing is compensated");
    assert_eq!(code(&resume(&harness, &run, true).await), Some(ErrorCode::RunNotActive));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_fails_again_after_a_retry_is_dead_again() {
    let (harness, run) = with_dead_run(None).await;
    *harness.pipeline.panics_at_resumption.lock().unwrap() = Some(run.clone());
    // The request of the user panics too in this pipeline, so the run is reopened by an entry of its own.
    let owner = PodId::new("pod_2").unwrap();
    let now = harness.clock.now();
    let tree = harness.stores.core.claim_tree(&run, &owner, LEASE, now).await.unwrap().unwrap();
    let after = harness.stores.runs.get(&run).await.unwrap().unwrap().seq;
    let position = AppendPosition { run: &run, fence: tree.fence, after };
    let by = UserId::new("admin").unwrap();
    let _ = harness.stores.core.append(position, &[Entry::RunReopened { by }], now).await.unwrap();
    harness.stores.core.release_tree(&run, tree.fence, now).await;
    let mut attempts = 0;
    for _ in 0..200 {
        tokio::time::advance(Duration::from_secs(1)).await;
        attempts += harness.recover().await.deferred;
    }
    assert_eq!((attempts, status(&harness, &run).await), (6, RunStatus::Dead), "its failures are counted anew");
}
