//! Idempotency keys of requests that start runs: a key names its run until the run has ended, keeps a final reply, and
//! is free after a failure that may pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use greenroom_protocol::request::{ResumeRun, StartRun};
use greenroom_protocol::{Cause, ErrorCode, Reply, Request, Status};
use greenroom_registry::runs::RunFilter;
use serde_json::json;

use super::harness::{
    Harness, Script, TestDefinitions, agent, immediate, run_id, run_of, start, start_team, until, values, workflow,
};

/// Three steps in a row, and a team that runs them.
fn definitions() -> TestDefinitions {
    let steps = json!([
        {"id": "a", "agent": "worker", "inputs": {"text": "a"}},
        {"id": "b", "agent": "worker", "inputs": {"text": "${steps.a.outputs.out}b"}},
        {"id": "c", "agent": "worker", "inputs": {"text": "${steps.b.outputs.out}c"}, "outputs": ["out"]},
    ]);
    let team = json!({"team_id": "crew", "name": "Crew", "agents": ["worker"], "workflows": ["w"]});
    TestDefinitions {
        agents: vec![agent("worker", json!({}))],
        workflows: vec![workflow("w", steps)],
        teams: vec![team],
    }
}

/// Agents return their text; the last step fails with this code, as often as this.
fn failing(code: ErrorCode, failures: usize) -> Script {
    let remaining = Arc::new(AtomicUsize::new(failures));
    immediate(move |call| {
        let takes = |count: usize| count.checked_sub(1);
        if call.key.ends_with("/c") && remaining.fetch_update(Ordering::SeqCst, Ordering::SeqCst, takes).is_ok() {
            return Err(Cause::new(code, "for the test"));
        }
        Ok(values(json!({"out": call.inputs["text"]})))
    })
}

/// The second step never ends.
fn stuck_at_b() -> Script {
    Arc::new(|call| {
        Box::pin(async move {
            if call.key.ends_with("/b") {
                std::future::pending::<()>().await;
            }
            Ok(values(json!({"out": call.inputs["text"]})))
        })
    })
}

fn requests() -> [Request; 2] {
    [start("w", json!({})), start_team("crew", "w", json!({}), json!({}))]
}

async fn run_count(harness: &Harness) -> usize {
    harness.stores.runs.list(&RunFilter::default(), None, 50).await.unwrap().runs.len()
}

fn code(reply: &Reply) -> Option<ErrorCode> {
    reply.error.as_ref().map(|cause| cause.code)
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ended_by_a_failure_that_may_pass_is_not_resumed_and_a_repetition_is_another_run() {
    for request in requests() {
        let harness = Harness::new(definitions(), failing(ErrorCode::ModelOverloaded, 1)).await;
        let failed = harness.request_with_key(request.clone(), Some("k")).await;
        assert_eq!(code(&failed), Some(ErrorCode::ModelOverloaded));
        let resume = Request::ResumeRun(ResumeRun { run: run_id(&failed), dead: false });
        assert_eq!(code(&harness.request(resume).await), Some(ErrorCode::RunNotActive), "it has ended for good");
        let repeated = harness.request_with_key(request.clone(), Some("k")).await;
        assert_eq!((repeated.status, &repeated.error), (Status::Success, &None));
        assert_ne!(repeated.id, failed.id);
        let calls = harness.calls().len();
        let next_reply = harness.request_with_key(request, Some("k")).await;
        assert_eq!((next_reply.id, next_reply.outputs, harness.calls().len()), (repeated.id, repeated.outputs, calls));
        assert_eq!(run_count(&harness).await, 2, "the record of the failed run remains");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ended_by_a_final_failure_keeps_its_key() {
    for request in requests() {
        let harness = Harness::new(definitions(), failing(ErrorCode::HandlerFailed, 1)).await;
        let failed = harness.request_with_key(request.clone(), Some("k")).await;
        let repeated = harness.request_with_key(request, Some("k")).await;
        assert_eq!((code(&failed), code(&repeated)), (Some(ErrorCode::HandlerFailed), Some(ErrorCode::HandlerFailed)));
        assert_eq!((&repeated.id, run_count(&harness).await), (&failed.id, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_finds_its_interrupted_run_and_starts_no_other() {
    for request in requests() {
        let harness = Harness::new(definitions(), stuck_at_b()).await;
        let first = tokio::time::timeout(
            std::time::Duration::from_secs(1),
            harness.request_with_key(request.clone(), Some("k")),
        );
        assert!(first.await.is_err(), "the caller disconnects");
        until("the second step is under way", || harness.calls().len() == 2).await;
        let harness = harness.crash(vec![definitions()], failing(ErrorCode::Internal, 0)).await;
        let run = harness.stores.runs.list(&RunFilter::default(), None, 50).await.unwrap().runs[0].run.clone();
        let interrupted = harness.request_with_key(request.clone(), Some("k")).await.error.unwrap();
        assert_eq!((interrupted.code, interrupted.code.is_retryable()), (ErrorCode::Interrupted, true));
        assert!(interrupted.message.contains(run.as_str()), "{interrupted}");
        assert!(harness.calls().is_empty(), "nothing is executed");
        let recovered = async {
            tokio::task::yield_now().await;
            harness.recover().await
        };
        let (repeated, recovered) = tokio::join!(harness.request_with_key(request.clone(), Some("k")), recovered);
        assert_eq!(recovered.resumed, 1);
        assert_eq!((&repeated.error, &repeated.id), (&None, &run.to_string()));
        assert_eq!(repeated.outputs["out"], json!("abc"));
        let steps: Vec<_> = harness.calls().into_iter().map(|call| call.key).collect();
        assert_eq!(steps, [format!("{run}/b"), format!("{run}/c")], "the recorded step is not executed again");
        assert_eq!(run_count(&harness).await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn one_key_is_one_request_whatever_its_kind() {
    let harness = Harness::new(definitions(), failing(ErrorCode::Internal, 0)).await;
    let [run, team] = requests();
    let first = harness.request_with_key(run.clone(), Some("k")).await;
    assert_eq!(first.error, None);
    assert_eq!(code(&harness.request_with_key(team.clone(), Some("k")).await), Some(ErrorCode::IdempotencyConflict));
    let other = Request::StartRun(StartRun { detach: true, ..run_of("w", json!({})) });
    assert_eq!(code(&harness.request_with_key(other, Some("k")).await), Some(ErrorCode::IdempotencyConflict));
    let of_team = harness.request_with_key(team.clone(), Some("l")).await;
    assert_eq!(of_team.error, None);
    assert_eq!(code(&harness.request_with_key(run, Some("l")).await), Some(ErrorCode::IdempotencyConflict));
    assert_eq!(harness.request_with_key(team, Some("l")).await.id, of_team.id);
    assert_eq!(run_count(&harness).await, 2);
}

/// A request finds its run although the definition that it names is another one by then.
#[tokio::test(start_paused = true)]
async fn a_repeated_request_is_not_judged_by_a_definition_that_has_changed() {
    let harness = Harness::new(definitions(), failing(ErrorCode::Internal, 0)).await;
    let first = harness.request_with_key(start("w", json!({})), Some("k")).await;
    let mut changed = definitions();
    changed.workflows[0]["inputs"] = json!([{"name": "n", "type": "integer", "required": true}]);
    let harness = harness.crash(vec![definitions(), changed], failing(ErrorCode::Internal, 0)).await;
    assert_eq!(code(&harness.request(start("w", json!({}))).await), Some(ErrorCode::MissingInput));
    let repeated = harness.request_with_key(start("w", json!({})), Some("k")).await;
    assert_eq!((repeated.id, repeated.outputs), (first.id, first.outputs));
}
