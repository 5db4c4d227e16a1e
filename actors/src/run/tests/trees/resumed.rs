//! A tree is resumed as a whole or given up, as its owner, with the versions and the retries of its root.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::request::{ResumeRun, Signal};
use greenroom_protocol::{Cause, ErrorCode, Request, RunId, Status, StepId};
use greenroom_registry::Stores;
use serde_json::json;

use super::super::harness::{
    Harness, detached, immediate, names, rejecting, run_id, start, stores, until, until_entry, values,
};
use super::{inner_runs, inner_statuses, nested, stuck_at_last, wait_called, waiting_step};
use crate::run::machine::RUN_RETRIES_MAX;

/// These stores, which panic at the appends for which `panics` is true.
pub(super) fn with_panics(stores: Stores, panics: impl Fn(&[Entry]) -> bool + Send + Sync + 'static) -> Stores {
    rejecting(stores, move |unit| {
        assert!(!unit.appended().is_some_and(&panics), "a defect of the run's actor");
        None
    })
}

/// Asserts that the tree of this run is dead after the first attempt and five more, and has not ended.
async fn assert_given_up(harness: &Harness, run: &RunId) {
    assert_eq!(harness.stores.runs.reply(run).await.unwrap(), None);
    let entries = harness.entries(run).await;
    let Some(Entry::RunGivenUp { cause, failures: 6, attempts: 0 }) = entries.last() else { panic!("{entries:?}") };
    assert_eq!((cause.code, &cause.details["failures"]), (ErrorCode::Internal, &json!(6)));
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_fails_at_each_resumption_is_resumed_later_and_later_and_then_given_up() {
    let definitions = nested(json!({}), waiting_step());
    let (all, clock) = stores();
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = is_broken.clone();
    let is_resumption = |entry: &Entry| matches!(entry, Entry::RunResumed { .. });
    let all = with_panics(all, move |entries| broken.load(Ordering::SeqCst) && entries.iter().any(is_resumption));
    let harness = Harness::open("pod_1", vec![definitions.clone()], stuck_at_last(), all, clock).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    wait_called(&harness, 2).await;
    let harness = harness.crash(vec![definitions], stuck_at_last()).await;
    is_broken.store(true, Ordering::SeqCst);
    let mut attempts = 0;
    let mut waits = Vec::new();
    while harness.stores.runs.get(&run).await.unwrap().unwrap().status != RunStatus::Dead {
        let started = tokio::time::Instant::now();
        let report = loop {
            let report = harness.recover().await;
            if report != crate::run::RecoveryReport::default() {
                break report;
            }
            tokio::time::advance(Duration::from_millis(100)).await;
            assert!(started.elapsed() < Duration::from_secs(120), "recovery has stopped");
        };
        waits.push(started.elapsed());
        attempts += report.resumed;
        until("the actor has failed", || harness.runs.hosted() == 0).await;
    }
    assert_eq!(attempts, 6, "the first attempt, and five more");
    assert!(waits.windows(2).skip(1).take(4).all(|pair| pair[1] > pair[0]), "{waits:?}");
    assert_given_up(&harness, &run).await;
    let inner: Vec<_> = inner_runs(&harness).await.into_iter().map(|record| record.status).collect();
    assert_eq!(inner, [RunStatus::Running], "nothing of the tree has ended");
}

#[tokio::test(start_paused = true)]
async fn a_tree_whose_resumption_panics_is_given_up_and_every_other_one_is_resumed() {
    let definitions = nested(json!({}), waiting_step());
    let harness = Harness::new(definitions.clone(), stuck_at_last()).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    harness.request(detached("outer", json!({}))).await;
    wait_called(&harness, 4).await;
    let harness = harness.crash(vec![definitions], stuck_at_last()).await;
    *harness.pipeline.panics_at_resumption.lock().unwrap() = Some(run.clone());
    let first = harness.recover().await;
    assert_eq!((first.resumed, first.deferred), (1, 1));
    let mut attempts = 1;
    for _ in 0..200 {
        tokio::time::advance(Duration::from_secs(1)).await;
        attempts += harness.recover().await.deferred;
    }
    assert_eq!(attempts, 6, "the first attempt, and five more");
    assert_given_up(&harness, &run).await;
}

#[tokio::test(start_paused = true)]
async fn a_tree_stops_as_a_whole_if_one_of_its_actors_fails_and_repeats_nothing_recorded() {
    let definitions = nested(json!({}), waiting_step());
    let (all, clock) = stores();
    let failures = Arc::new(AtomicUsize::new(1));
    let left = failures.clone();
    let is_last_done = |entry: &Entry| matches!(entry, Entry::StepDone { key, .. } if key.step.as_str() == "last");
    let fails = move || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    let all = with_panics(all, move |entries| entries.iter().any(is_last_done) && fails());
    let harness = Harness::open("pod_1", vec![definitions], names(), all, clock).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    until("no actor of the tree is left", || harness.runs.hosted() == 0 && harness.calls().len() == 2).await;
    assert!(harness.stores.runs.list_tree(&run).await.unwrap().iter().all(|record| !record.status.is_terminal()));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(harness.recover().await.resumed, 1);
    assert_eq!(inner_statuses(&harness).await, [RunStatus::Success]);
    let keys: Vec<String> = harness.calls().into_iter().map(|call| call.key).collect();
    assert_eq!(keys.iter().filter(|key| key.ends_with("/first")).count(), 1, "{keys:?}");
    assert_eq!(keys.iter().filter(|key| key.ends_with("/last")).count(), 2, "its result was lost: {keys:?}");
    assert_eq!(harness.stores.runs.get(&run).await.unwrap().unwrap().failures, 0, "it has made progress since");
}

#[tokio::test(start_paused = true)]
async fn a_run_is_resumed_as_its_owner_by_any_user() {
    let definitions = nested(json!({}), waiting_step());
    let harness = Harness::new(definitions.clone(), stuck_at_last()).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    wait_called(&harness, 2).await;
    let harness = harness.crash(vec![definitions], names()).await;
    let inner = inner_runs(&harness).await.remove(0).run;
    // Resuming an inner run resumes its tree.
    let resumed = harness.request(Request::ResumeRun(ResumeRun { run: inner, dead: false })).await;
    assert_eq!(resumed.status, Status::Success);
    assert_eq!(inner_statuses(&harness).await, [RunStatus::Success]);
    let requests = harness.pipeline.requests.lock().unwrap().clone();
    assert_eq!(requests.iter().filter(|request| request.starts_with("resume_run")).count(), 2, "{requests:?}");
    let repeated = harness.request(Request::ResumeRun(ResumeRun { run, dead: false })).await;
    assert_eq!(repeated.error.unwrap().code, ErrorCode::RunNotActive);
}

#[tokio::test(start_paused = true)]
async fn inner_runs_are_pinned_with_the_run_that_calls_them() {
    let mut definitions = nested(json!({"depends_on": ["wait"]}), waiting_step());
    let wait = json!({"id": "wait", "approval": {"prompt": "Go on?"}});
    definitions.workflows[0]["steps"].as_array_mut().unwrap().push(wait);
    let mut changed = definitions.clone();
    changed.workflows[1]["steps"][1]["agent"] = json!("undoer");
    changed.agents[0]["description"] = json!("does other things");
    let harness = Harness::new(definitions.clone(), names()).await;
    let run = run_id(&harness.request(detached("outer", json!({}))).await);
    let step = StepId::new("wait").unwrap();
    until_entry(&harness, &run, 1, |entry| matches!(entry, Entry::ApprovalRequested { .. })).await;
    let harness = harness.crash(vec![definitions, changed], names()).await;
    assert_eq!(harness.recover().await.resumed, 1);
    let approved = harness.signal(&run, Signal::Approve { step, call: None }).await;
    assert_eq!(approved.status, Status::Success, "{approved:?}");
    assert_eq!(inner_statuses(&harness).await, [RunStatus::Success]);
    let reply = harness.stores.runs.reply(&run).await.unwrap().unwrap();
    assert_eq!(reply.outputs["end"], json!("worker"), "the newest version of `inner` ends with another agent");
}

#[tokio::test(start_paused = true)]
async fn the_retries_of_an_inner_run_are_those_of_its_tree() {
    let retry = json!({"max_attempts": 100, "delay": 0.001, "backoff": "fixed"});
    let last = json!({"id": "last", "agent": "worker", "depends_on": ["first"], "retry": retry});
    let definitions = nested(json!({"retry": retry}), last);
    let script = immediate(|call| match call.key.ends_with("/last") {
        true => Err(Cause::new(ErrorCode::ModelOverloaded, "busy")),
        false => Ok(values(json!({"out": call.agent}))),
    });
    let harness = Harness::new(definitions, script).await;
    let reply = harness.request(start("outer", json!({}))).await;
    assert_eq!(reply.error.unwrap().code, ErrorCode::ModelOverloaded);
    let calls = harness.calls().iter().filter(|call| call.key.ends_with("/last")).count();
    assert_eq!(calls, 1 + RUN_RETRIES_MAX as usize, "one call, and all retries of the tree");
    assert_eq!(inner_statuses(&harness).await.len(), 1, "no retry was left for the step of the outer run");
}
