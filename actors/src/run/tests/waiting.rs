//! Runs that wait for people: their time, those of the runs that called them, and signals that are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::Signal;
use greenroom_protocol::{ErrorCode, RunId, Status, Timestamp};
use greenroom_registry::StoreError;
use greenroom_registry::core::UnitError;
use serde_json::json;

use super::harness::{
    Harness, Script, TestDefinitions, agent, detached, names, rejecting, run_id, start, until, values, workflow,
};
use super::signals::{step, until_state};

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A workflow of five seconds that waits for a person, alone or in the workflow that calls it.
fn five_seconds() -> TestDefinitions {
    let mut inner = workflow(
        "inner",
        json!([
            {"id": "prepare", "agent": "worker"},
            {"id": "ask", "approval": {"prompt": "Go on with ${steps.prepare.outputs.out}?"}},
            {"id": "act", "agent": "worker", "depends_on": ["ask"], "outputs": ["done"]},
        ]),
    );
    inner["timeout"] = json!(5);
    let mut outer = workflow(
        "outer",
        json!([
            {"id": "before", "agent": "worker"},
            {"id": "call", "workflow": "inner", "depends_on": ["before"], "timeout": 4},
            {"id": "after", "agent": "worker", "depends_on": ["call"], "outputs": ["end"]},
        ]),
    );
    outer["timeout"] = json!(6);
    let outermost = workflow("outermost", json!([{"id": "top", "workflow": "outer", "timeout": 7}]));
    let agents = vec![agent("worker", json!({}))];
    TestDefinitions { agents, workflows: vec![inner, outer, outermost], ..TestDefinitions::default() }
}

/// The runs of a harness: those with a parent after their parents.
async fn runs_of(harness: &Harness) -> Vec<RunId> {
    let mut records = harness.stores.runs.list(&Default::default(), None, 50).await.unwrap().runs;
    records.reverse();
    records.into_iter().map(|record| record.run).collect()
}

/// Starts a workflow and waits until the run that its steps call, `depth` levels below, waits for a person.
async fn waiting(harness: &Harness, name: &str, depth: usize) -> Vec<RunId> {
    harness.request(detached(name, json!({}))).await;
    let calls = || harness.calls().iter().any(|call| call.key.ends_with("/prepare"));
    until("the innermost run has prepared", calls).await;
    let runs = runs_of(harness).await;
    assert_eq!(runs.len(), depth + 1);
    until_state(harness, &runs[depth], RunStatus::WaitingApproval).await;
    runs
}

#[tokio::test(start_paused = true)]
async fn a_run_of_five_seconds_waits_for_a_week_and_then_succeeds() {
    let harness = Harness::new(five_seconds(), names()).await;
    let runs = waiting(&harness, "inner", 0).await;
    tokio::time::sleep(WEEK).await;
    assert_eq!(
        harness.signal(&runs[0], Signal::Approve { step: step("ask"), call: None }).await.status,
        Status::Success
    );
    until_state(&harness, &runs[0], RunStatus::Success).await;
}

#[tokio::test(start_paused = true)]
async fn the_runs_above_wait_as_long_as_the_run_that_they_called_and_name_it() {
    let harness = Harness::new(five_seconds(), names()).await;
    let runs = waiting(&harness, "outermost", 2).await;
    for caller in &runs[..2] {
        let refused = harness.signal(caller, Signal::Approve { step: step("ask"), call: None }).await.error.unwrap();
        assert_eq!(refused.code, ErrorCode::UnknownStep);
        assert!(refused.message.contains(&format!("`ask` of {}", runs[2])), "{}", refused.message);
        assert_eq!(refused.details["pending_approvals"][0]["run"], json!(runs[2]));
    }
    tokio::time::sleep(WEEK).await;
    assert_eq!(
        harness.signal(&runs[2], Signal::Approve { step: step("ask"), call: None }).await.status,
        Status::Success
    );
    for run in runs.iter().rev() {
        until_state(&harness, run, RunStatus::Success).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_an_inner_run_waits_changes_nothing_and_repeats_nothing() {
    let harness = Harness::new(five_seconds(), names()).await;
    let runs = waiting(&harness, "outer", 1).await;
    tokio::time::sleep(WEEK).await;
    let harness = harness.crash(vec![five_seconds()], names()).await;
    assert_eq!(harness.recover().await.resumed, 1, "a tree is resumed from its root");
    tokio::time::sleep(WEEK).await;
    let refused = harness.signal(&runs[0], Signal::Approve { step: step("ask"), call: None }).await.error.unwrap();
    assert!(refused.message.contains(&format!("`ask` of {}", runs[1])), "{}", refused.message);
    assert_eq!(
        harness.signal(&runs[1], Signal::Approve { step: step("ask"), call: None }).await.status,
        Status::Success
    );
    until_state(&harness, &runs[0], RunStatus::Success).await;
    let keys: Vec<String> = harness.calls().into_iter().map(|call| call.key).collect();
    assert_eq!(keys, [format!("{}/act", runs[1]), format!("{}/after", runs[0])]);
}

#[tokio::test(start_paused = true)]
async fn the_timeouts_count_the_work_before_and_after_a_wait() {
    let slow: Script = Arc::new(|call| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok(values(json!({ "out": call.agent })))
        })
    });
    let harness = Harness::new(five_seconds(), slow).await;
    let runs = waiting(&harness, "inner", 0).await;
    tokio::time::sleep(WEEK).await;
    let approved_at = tokio::time::Instant::now();
    harness.signal(&runs[0], Signal::Approve { step: step("ask"), call: None }).await;
    until_state(&harness, &runs[0], RunStatus::TimedOut).await;
    assert_eq!(approved_at.elapsed().as_secs(), 2, "three of its five seconds were used before");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_request_that_waits_ends_the_run() {
    let harness = Harness::new(five_seconds(), names()).await;
    let started = tokio::time::Instant::now();
    let reply = harness.request(start("inner", json!({}))).await;
    assert_eq!((reply.status, reply.error.unwrap().code), (Status::TimedOut, ErrorCode::TimedOut));
    assert_eq!(started.elapsed(), greenroom_protocol::limits::REQUEST_TIMEOUT);
    until("no run is hosted", || harness.runs.hosted() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_approval_with_a_timeout_ends_its_run_at_that_time() {
    let steps = json!([{"id": "ask", "approval": {"prompt": "Send it?", "timeout": 3600}}]);
    let definitions = TestDefinitions { workflows: vec![workflow("w", steps)], ..TestDefinitions::default() };
    let harness = Harness::new(definitions, names()).await;
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    let started = tokio::time::Instant::now();
    let reply = harness.runs.wait_reply(&run).await.unwrap();
    assert_eq!((reply.status, started.elapsed().as_secs()), (Status::TimedOut, 3600));
    let message = reply.error.unwrap().message;
    assert_eq!(message, "step `ask`: nobody approved or rejected it within 3600 s");
}

#[tokio::test(start_paused = true)]
async fn two_approvals_at_one_time_are_both_counted_and_a_third_is_refused() {
    let steps = json!([
        {"id": "legal", "approval": {"prompt": "Legal?"}},
        {"id": "money", "approval": {"prompt": "Money?"}},
        {"id": "send", "agent": "worker", "depends_on": ["legal", "money"]},
    ]);
    let agents = vec![agent("worker", json!({}))];
    let definitions = TestDefinitions { agents, workflows: vec![workflow("w", steps)], ..TestDefinitions::default() };
    let harness = Harness::new(definitions, names()).await;
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    until_state(&harness, &run, RunStatus::WaitingApproval).await;
    let now = Timestamp::MAX;
    assert_eq!(harness.stores.maintenance.prune_runs(None, now).await.unwrap(), 0, "a run that waits is not pruned");
    let approve = |id: &str| harness.signal(&run, Signal::Approve { step: step(id), call: None });
    let (legal, money, repeated) = tokio::join!(approve("legal"), approve("money"), approve("legal"));
    assert_eq!((legal.status, money.status), (Status::Success, Status::Success));
    let refused = repeated.error.unwrap().code;
    assert!(matches!(refused, ErrorCode::UnknownStep | ErrorCode::RunNotActive), "{refused}");
    until_state(&harness, &run, RunStatus::Success).await;
    assert_eq!(harness.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_is_not_in_the_journal_is_never_confirmed() {
    let lost = UnitError::Store(StoreError::OutcomeUnknown);
    for (error, code) in [(UnitError::Fenced, ErrorCode::LeaseLost), (lost, ErrorCode::OutcomeUnknown)] {
        let (stores, clock) = super::harness::stores();
        let loses = Arc::new(AtomicBool::new(false));
        let is_losing = loses.clone();
        let stores = rejecting(stores, move |unit| {
            (is_losing.load(Ordering::Relaxed) && unit.appended().is_some()).then(|| error.clone())
        });
        let harness = Harness::open("pod_1", vec![five_seconds()], names(), stores, clock).await;
        let runs = waiting(&harness, "inner", 0).await;
        loses.store(true, Ordering::Relaxed);
        let refused = harness.signal(&runs[0], Signal::Approve { step: step("ask"), call: None }).await;
        assert_eq!((refused.status, refused.error.map(|cause| cause.code)), (Status::Failed, Some(code)));
        let entries = harness.entries(&runs[0]).await;
        assert!(!entries.iter().any(|entry| matches!(entry, Entry::ApprovalResolved { .. })));
        until("the actor has stopped", || harness.runs.hosted() == 0).await;
        let later = harness.signal(&runs[0], Signal::Approve { step: step("ask"), call: None }).await.error.unwrap();
        assert_eq!(later.code, ErrorCode::RunNotActive);
    }
}
