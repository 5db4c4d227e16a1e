//! Compensation: its order, and the time and the right that it has of its own.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::request::Signal;
use greenroom_protocol::{Cause, ErrorCode, Status};
use serde_json::json;

use super::harness::{Harness, Script, TestDefinitions, detached, immediate, run_id, start, until, values};
use super::steps::definitions;

#[tokio::test(start_paused = true)]
async fn completed_steps_are_compensated_in_reverse_with_their_outputs() {
    let compensation =
        |step: &str| json!({"agent": "undoer", "inputs": {"text": format!("${{steps.{step}.outputs.out}}")}});
    let steps = json!([
        {"id": "one", "agent": "worker", "compensate": compensation("one")},
        {"id": "two", "agent": "other", "depends_on": ["one"], "compensate": compensation("two")},
        {"id": "three", "agent": "worker", "depends_on": ["two"]},
    ]);
    let script = immediate(|call| match (call.agent.as_str(), call.key.ends_with("/three")) {
        (_, true) => Err(Cause::new(ErrorCode::HandlerFailed, "no")),
        (agent, false) => Ok(values(json!({ "out": agent }))),
    });
    let harness = Harness::new(definitions(steps), script).await;
    let error = harness.request(start("w", json!({}))).await.error.unwrap();
    assert_eq!((error.code, &error.details["undone"]), (ErrorCode::HandlerFailed, &json!(["one", "two"])));
    let compensations: Vec<_> = harness.calls().into_iter().filter(|call| call.agent == "undoer").collect();
    assert_eq!(
        compensations.iter().map(|call| call.inputs["text"].clone()).collect::<Vec<_>>(),
        [json!("other"), json!("worker")]
    );
    assert!(compensations[0].key.ends_with("/two/undo"));
}

/// Two steps of which the second never ends, in a workflow with a timeout.
fn never_ends() -> TestDefinitions {
    let mut definitions = definitions(json!([
        {"id": "one", "agent": "worker", "compensate": {"agent": "undoer", "inputs": {"text": "${steps.one.outputs.out}"}}},
        {"id": "two", "agent": "other", "depends_on": ["one"]},
    ]));
    definitions.workflows[0]["timeout"] = json!(5);
    definitions.workflows[0]["compensation_timeout"] = json!(60);
    definitions
}

/// The second step never ends, and a compensation takes this many seconds.
fn slow_compensation(seconds: u64) -> Script {
    Arc::new(move |call| {
        Box::pin(async move {
            let time_max = match call.agent.as_str() {
                "other" => Duration::MAX,
                "undoer" => Duration::from_secs(seconds),
                _ => return Ok(values(json!({ "out": call.agent }))),
            };
            let _ = tokio::time::timeout(time_max, std::future::pending::<()>()).await;
            Ok(values(json!({ "out": call.agent })))
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_time_is_up_is_compensated_after_its_deadline() {
    let harness = Harness::new(never_ends(), slow_compensation(50)).await;
    let started = tokio::time::Instant::now();
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    let reply = harness.runs.wait_reply(&run).await.unwrap();
    assert_eq!((reply.status, started.elapsed().as_secs()), (Status::TimedOut, 55));
    assert_eq!(reply.error.unwrap().details["undone"], json!(["one"]));
    assert_eq!(harness.calls().last().unwrap().inputs["text"], json!("worker"));
}

#[tokio::test(start_paused = true)]
async fn a_compensation_that_takes_longer_than_its_timeout_is_reported() {
    let harness = Harness::new(never_ends(), slow_compensation(500)).await;
    let started = tokio::time::Instant::now();
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    let reply = harness.runs.wait_reply(&run).await.unwrap();
    assert_eq!((reply.status, started.elapsed().as_secs()), (Status::TimedOut, 65));
    assert_eq!(reply.error.unwrap().details["not_undone"], json!(["one"]));
}

#[tokio::test(start_paused = true)]
async fn a_compensation_that_a_crash_interrupts_succeeds_long_after_the_deadline() {
    let harness = Harness::new(never_ends(), slow_compensation(500)).await;
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    until("the compensation is under way", || harness.calls().len() == 3).await;
    tokio::time::advance(Duration::from_secs(20)).await;
    let harness = harness.crash(vec![never_ends()], slow_compensation(50)).await;
    tokio::time::advance(Duration::from_secs(7 * 24 * 60 * 60)).await;
    assert_eq!(harness.recover().await.resumed, 1);
    let reply = harness.runs.wait_reply(&run).await.unwrap();
    assert_eq!(reply.error.unwrap().details["undone"], json!(["one"]));
    assert_eq!(harness.calls().len(), 1, "only the compensation is repeated");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_being_compensated_does_not_confirm_a_cancellation() {
    let harness = Harness::new(never_ends(), slow_compensation(50)).await;
    let run = run_id(&harness.request(detached("w", json!({}))).await);
    until("the compensation is under way", || harness.calls().len() == 3).await;
    let refused = harness.signal(&run, Signal::Cancel).await.error.unwrap();
    assert_eq!(refused.code, ErrorCode::RunNotActive);
    assert!(refused.message.contains("being compensated"), "{}", refused.message);
    assert_eq!(harness.runs.wait_reply(&run).await.unwrap().status, Status::TimedOut);
}
