//! Kinds of steps: skipped, repeated, retried, timed out, a nested workflow.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::journal::Entry;
use greenroom_protocol::{Cause, ErrorCode, Status};
use serde_json::json;

use super::harness::{Harness, Script, TestDefinitions, agent, immediate, names, run_id, start, values, workflow};

pub(super) fn definitions(steps: serde_json::Value) -> TestDefinitions {
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

/// One of two branches, then a step that takes what is there.
fn branches(join: serde_json::Value) -> TestDefinitions {
    let inputs = json!([
        {"name": "left", "type": "text", "required": false}, {"name": "right", "type": "text", "required": true, "default": "none"},
        {"name": "whole", "type": "object", "required": false}]);
    let strict = json!([{"name": "text", "type": "text", "required": true}]);
    let mut definitions = definitions(json!([
        {"id": "left", "agent": "worker", "when": "inputs.kind == 'a'"},
        {"id": "right", "agent": "worker", "when": "inputs.kind == 'b'"},
        join,
    ]));
    definitions.agents.push(agent("joiner", json!({ "inputs": inputs })));
    definitions.agents.push(agent("strict", json!({ "inputs": strict })));
    definitions
}

fn skip_reasons(entries: Vec<Entry>) -> Vec<(String, String)> {
    let reason = |entry| match entry {
        Entry::StepSkipped { key, reason } => Some((key.step.to_string(), reason.unwrap().to_string())),
        _ => None,
    };
    entries.into_iter().filter_map(reason).collect()
}

#[tokio::test(start_paused = true)]
async fn a_step_after_branches_takes_what_is_there_and_its_defaults() {
    let left = "${steps.left.outputs.out}";
    let right = "${steps.right.outputs.out}";
    let join = json!({"id": "join", "agent": "joiner", "outputs": ["out"],
        "inputs": {"left": left, "right": right, "whole": {"l": left, "r": right}}});
    let harness = Harness::new(branches(join), names()).await;
    for (kind, expected) in [
        ("a", json!({"left": "worker", "right": "none", "whole": {"l": "worker"}})),
        ("b", json!({"right": "worker", "whole": {"r": "worker"}})),
    ] {
        let reply = harness.request(start("w", json!({ "kind": kind }))).await;
        assert_eq!(reply.outputs, values(json!({"out": "joiner"})), "{:?}", reply.error);
        assert_eq!(harness.calls().last().unwrap().inputs, values(expected));
    }
    let neither = harness.request(start("w", json!({"kind": "c"}))).await;
    assert_eq!((neither.status, neither.outputs.len()), (Status::Success, 0));
    let reasons = skip_reasons(harness.entries(&run_id(&neither)).await);
    assert_eq!(reasons[2], ("join".into(), "it refers only to `left` and `right`, which was skipped".into()));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_needs_a_skipped_value_is_skipped_and_its_run_reports_why() {
    let cases = [
        (
            json!({"agent": "strict", "inputs": {"text": "${steps.left.outputs.out} and ${steps.right.outputs.out}"}}),
            "its `inputs.text` needs an output of `right`, which was skipped",
        ),
        (
            json!({"agent": "worker", "inputs": {"text": "${steps.left.outputs.out}"},
                   "when": "steps.right.outputs.out == 'worker'"}),
            "its condition reads an output of `right`, which was skipped",
        ),
        (
            json!({"approval": {"prompt": "${steps.left.outputs.out} ${steps.right.outputs.out}?"}}),
            "its `approval` needs an output of `right`, which was skipped",
        ),
    ];
    for (members, expected) in cases {
        let mut join = json!({"id": "join"});
        join.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let harness = Harness::new(branches(join), names()).await;
        let reply = harness.request(start("w", json!({"kind": "a"}))).await;
        assert_eq!(reply.status, Status::Success, "{:?}", reply.error);
        let reasons = skip_reasons(harness.entries(&run_id(&reply)).await);
        assert_eq!(
            reasons,
            [("right".to_owned(), "its condition is false".to_owned()), ("join".to_owned(), expected.to_owned())]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_condition_tests_whether_a_step_was_executed() {
    let conditions = [
        ("has(steps.left.outputs.out) || has(steps.right.outputs.out)", true),
        ("has(steps.left.outputs) && !has(steps.right.outputs)", true),
        ("has(steps.right.outputs.out)", false),
    ];
    for (when, runs) in conditions {
        let join = json!({"id": "join", "agent": "worker", "when": when, "outputs": ["out"]});
        let harness = Harness::new(branches(join), names()).await;
        let reply = harness.request(start("w", json!({"kind": "a"}))).await;
        assert_eq!((reply.status, reply.outputs.contains_key("out")), (Status::Success, runs), "{when}");
    }
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
