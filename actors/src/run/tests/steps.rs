//! Kinds of steps: skipped, repeated, retried, timed out, a nested workflow, compensated.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode, Status};
use serde_json::json;

use super::harness::{Harness, Script, TestDefinitions, agent, immediate, names, start, values, workflow};

fn definitions(steps: serde_json::Value) -> TestDefinitions {
    TestDefinitions {
        agents: ["worker", "other", "undoer"].iter().map(|name| agent(name, json!({}))).collect(),
        workflows: vec![workflow("w", steps)],
        ..TestDefinitions::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_condition_decides_and_a_step_that_refers_to_a_skipped_step_is_skipped() {
    let steps = json!([
        {"id": "maybe", "agent": "worker", "when": "inputs.amount > 100", "outputs": ["maybe"]},
        {"id": "after", "agent": "other", "inputs": {"text": "${steps.maybe.outputs.out}"}, "outputs": ["after"]},
    ]);
    let harness = Harness::new(definitions(steps), names()).await;
    let small = harness.request(start("w", json!({"amount": 5}))).await;
    assert_eq!((small.status, small.outputs.len(), harness.calls().len()), (Status::Success, 0, 0));
    let large = harness.request(start("w", json!({"amount": 500}))).await;
    assert_eq!(large.outputs, values(json!({"maybe": "worker", "after": "other"})));
    let wrong = harness.request(start("w", json!({}))).await;
    assert_eq!(wrong.error.unwrap().code, ErrorCode::ExpressionFailed);
}

#[tokio::test(start_paused = true)]
async fn a_list_returns_its_results_in_order_without_its_failed_items() {
    let steps = json!([
        {"id": "each", "agent": "worker", "inputs": {"text": "${item.name}/${index}"}, "outputs": ["all"],
         "when": "item.name != 'skip'",
         "for_each": {"items": "${inputs.list}", "max_concurrency": 2, "on_error": "continue"}},
    ]);
    let script: Script = Arc::new(|call| {
        Box::pin(async move {
            let text = call.inputs["text"].as_str().unwrap().to_owned();
            // The first items take longest, so the results arrive in another order.
            let remaining = 10 - call.key.bytes().rev().nth(1).map_or(0, |digit| u64::from(digit - b'0'));
            tokio::time::timeout(Duration::from_millis(remaining), std::future::pending::<()>()).await.unwrap_err();
            if text.starts_with("bad") {
                Err(Cause::new(ErrorCode::HandlerFailed, "bad"))
            } else {
                Ok(values(json!({"out": text, "all": text})))
            }
        })
    });
    let harness = Harness::new(definitions(steps), script).await;
    let list = json!([{"name": "a"}, {"name": "bad"}, {"name": "skip"}, {"name": "d"}]);
    let reply = harness.request(start("w", json!({ "list": list }))).await;
    assert_eq!(reply.outputs, values(json!({"all": ["a/0", null, null, "d/3"]})));
    assert_eq!(reply.metadata.workflow_steps, 2);
    let wrong = harness.request(start("w", json!({"list": "none"}))).await;
    assert_eq!((wrong.status, wrong.error.unwrap().code), (Status::Failed, ErrorCode::StepFailed));
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_is_retried_under_the_same_key_after_its_delay() {
    let steps =
        json!([{"id": "a", "agent": "worker", "retry": {"max_attempts": 3, "delay": 20.0, "backoff": "fixed"}}]);
    let script = immediate(|call| match call.attempt {
        3 => Ok(values(json!({"out": "x"}))),
        _ => Err(Cause::new(ErrorCode::ModelOverloaded, "busy")),
    });
    let harness = Harness::new(definitions(steps), script).await;
    let started = tokio::time::Instant::now();
    assert_eq!(harness.request(start("w", json!({}))).await.status, Status::Success);
    assert!(started.elapsed() >= Duration::from_secs(40));
    let calls = harness.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.key == calls[0].key));
    assert_ne!(calls[0].request, calls[1].request, "another attempt is another request");
}

fn slow(seconds: u64) -> Script {
    Arc::new(move |call| {
        Box::pin(async move {
            let never = std::future::pending::<()>();
            tokio::time::timeout(Duration::from_secs(seconds), never).await.unwrap_err();
            Ok(values(json!({ "out": call.agent })))
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_step_and_a_run_end_at_their_timeouts() {
    let harness = Harness::new(definitions(json!([{"id": "a", "agent": "worker", "timeout": 5}])), slow(60)).await;
    let started = tokio::time::Instant::now();
    let reply = harness.request(start("w", json!({}))).await;
    assert_eq!((reply.status, started.elapsed().as_secs()), (Status::TimedOut, 5));
    let mut timed = definitions(json!([{"id": "a", "agent": "worker"}]));
    timed.workflows[0]["timeout"] = json!(7);
    let harness = Harness::new(timed, slow(60)).await;
    let started = tokio::time::Instant::now();
    let reply = harness.request(start("w", json!({}))).await;
    assert_eq!((reply.status, started.elapsed().as_secs()), (Status::TimedOut, 7));
    assert_eq!(reply.error.unwrap().message, "the run's time is up");
}

#[tokio::test(start_paused = true)]
async fn a_workflow_as_a_step_is_a_run_of_its_own_that_counts_towards_its_caller() {
    let mut nested = definitions(json!([
        {"id": "sub", "workflow": "inner", "inputs": {"name": "${inputs.name}"}, "outputs": ["inner_out"]},
    ]));
    nested.workflows.push(workflow(
        "inner",
        json!([{"id": "x", "agent": "worker", "inputs": {"text": "${inputs.name}"}, "outputs": ["inner_out"]}]),
    ));
    let harness = Harness::new(nested, immediate(|call| Ok(values(json!({"out": call.inputs["text"]}))))).await;
    let reply = harness.request(start("w", json!({"name": "n"}))).await;
    assert_eq!(reply.outputs, values(json!({"inner_out": "n"})));
    assert_eq!(reply.metadata.workflow_steps, 2);
    assert_eq!(reply.metadata.agents[0].as_str(), "worker");
    let runs = harness.stores.runs.list(&Default::default(), None, 50).await.unwrap().runs;
    let child = runs.iter().find(|record| record.parent.is_some()).unwrap();
    assert_eq!(child.parent.as_ref().unwrap().as_str(), reply.id);
}

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
